"""What every extractor promises: `prepare` touches no weights; items, `prepare` and `check` alone decide a part, in whatever process and order."""

import pickle
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest

from personascope.extract.hands import OwnHands, Part
from personascope.extract.job import Job, parts_of, run
from personascope.extract.registry import extractor, extractors, resolve_settings
from personascope.extract.weights.on_device import ModelChoices, Models
from personascope.extract.workers import PartsSetup, opened
from personascope.ingest.prompts import PromptSet
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.parts import PartStage
from planted_tokens import few_prompts, plant_tokens

pytestmark = pytest.mark.slow(20)

OVER_TOKENS, OVER_NOTHING = {"attention", "projections"}, {"directions"}
SETTINGS: dict[str, dict[str, Any]] = {
    "ablations": {"heads": [[0, 1], [2, 3]], "generate": 3, "entropies": True},
    "activations": {"strata": ["last"], "sites": ["resid_post", "mlp_out"]},
    "attention": {"persona": "villain"},
    "capability": {"task": "tiny-world", "form": "raw"},
    "completions": {"positives": 1, "trials": 2, "max_new_tokens": 4},
    "directions": {"make": ["persona_others"], "layers": [1, 2], "sites": ["resid_post"], "random": 1},
    "entropy": {"form": "chat", "fused_from": 48},
    "features": {"layers": [1], "random_directions": 5, "directions": [{"layer": 1, "feature": 3}]},
    "patches": {"sites": ["resid_post", "head"], "layers": [1]},
    "preflight": {"samples": 1, "max_new_tokens": 4, "personas": ["villain"]},
    "projections": {"layers": [1]},
    "steering": {"layers": [1], "doses": [0.5], "samples": 1, "max_new_tokens": 3, "task": None},
    "train-sae": {"layers": [1], "n_features": 48, "k": 4, "steps": 5, "batch_size": 64},
}


@pytest.fixture(scope="module")
def prompts():
    return few_prompts()


@pytest.fixture(scope="module")
def lake(tmp_path_factory, random_checkpoint, prompts):
    """A lake with completions that hold the marker, with activations, with directions of theirs, and with an autoencoder of layer 1."""
    made = Lake.open(tmp_path_factory.mktemp("contract") / "lake")
    plant_tokens(made, random_checkpoint, prompts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERSONASCOPE_CACHE", str(made.root.parent / "cache"))
        for name in ("train-sae", "activations", "directions"):
            run(request(name, made, random_checkpoint, prompts))
    yield made
    opened.cache_clear()


def request(name: str, lake: Lake, folder: Path, prompts: PromptSet, models: Models | None = None, **changes: Any) -> Any:
    settings, _ = resolve_settings(extractor(name), {"command line": SETTINGS.get(name, {})})
    (tokens,) = (run_id for run_id in lake.run_ids() if lake.manifest(run_id).identity == {})
    over = {"tokens_from": tokens} if name in OVER_TOKENS else {} if name in OVER_NOTHING else {"prompts": prompts}
    donor = resolve(folder, name="donor") if name == "patches" else None
    models = models or Models("cpu", "float32")
    job = Job(lake, resolve(folder, name="random"), models, donor=donor, batch_tokens=150, say=lambda line: None, **over, **changes)
    return extractor(name)(settings, job)


class Recording(OwnHands):
    """This process, which keeps what a worker would have been sent and what it should have given."""

    kept: Any = None

    def check(self) -> Any:
        sent = pickle.dumps(PartsSetup(self._extractor, ModelChoices("cpu", "float32"), self._writer.run_id, self._writer.stage))
        type(self).kept = sent, dict(super().check()), []
        return self.kept[1]

    def stage(self, parts: Any, staged: Any) -> Any:
        for name, items in parts.items():
            rows = yield Part(self._extractor, items)
            self.kept[2].append((name, pickle.dumps(items), rows))
            self._writer.write_part(name, rows)
            staged(name)


@pytest.mark.parametrize("name", extractors())
def test_parts_are_the_same_in_a_fresh_instance_and_in_any_order_and_planning_touches_no_weights(lake, random_checkpoint, prompts, name, monkeypatch, tmp_path):
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(lake.root.parent / "cache"))
    made = request(name, lake, random_checkpoint, prompts, force=True)
    prepare = made.prepare

    def without_weights(self: Any) -> Any:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Models, "hold", lambda *_: pytest.fail(f"{name} touches weights before `check`"))
            return prepare()

    monkeypatch.setattr(type(made), "prepare", without_weights)
    monkeypatch.setattr(type(made), "conclude", lambda self, manifest: None)
    monkeypatch.setattr("personascope.extract.job.OwnHands", Recording)
    run(made)
    if not made.spreads:
        return
    sent, figures, parts = Recording.kept
    assert len(parts) > 1
    setup = pickle.loads(sent)
    setup._nonce.parent.mkdir(parents=True)
    assert setup.begin() == figures
    setup._nonce.parent.rmdir()
    for part, items, rows in reversed(parts):
        again = setup.extractor.rows_of(pickle.loads(items))
        here, there = (written(tmp_path, setup._stage.constants, part, found) for found in (rows, again))
        assert here == there and len(here) > 1


def written(folder: Path, constants: Any, part: str, rows: Any) -> dict[str, bytes]:
    """The files of a part."""
    place = Path(mkdtemp(dir=folder))
    (place / PartStage(place, constants).write(part, rows)).rename(place / "part")
    return {file.name: file.read_bytes() for file in (place / "part").iterdir()}


@pytest.mark.parametrize("name", extractors())
def test_rows_are_the_same_where_layers_lie_elsewhere_or_the_extractor_says_that_it_needs_them(lake, random_checkpoint, prompts, name, monkeypatch, tmp_path):
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(lake.root.parent / "cache"))
    spread = request(name, lake, random_checkpoint, prompts, Models("cpu", "float32", sharding=(("cpu", 210_000),)), force=True)
    if spread.needs_weights:
        with pytest.raises(PersonascopeError, match=f"extract {name}: .* spread by --shard-model"):
            run(spread)
        return
    whole = request(name, lake, random_checkpoint, prompts, force=True)
    figures = []
    for made in (whole, spread):
        items, _ = made.prepare()
        made.checked = made.check()
        figures.append((made.checked, [written(tmp_path, made.spec().constants, "part", made.rows_of(batch)) for batch in parts_of(made, items)]))
    away = {key.split(".")[2] for key, each in spread.loaded.model.named_parameters() if each.device.type == "meta" and ".layers." in key}
    assert figures[0] == figures[1] and away == {"1", "2"}
