"""What every extractor promises: `prepare` touches no weights; items, `prepare` and `check` alone decide a part, in whatever process and order."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from personascope.extract.hands import OwnHands
from personascope.extract.job import Job, run
from personascope.extract.registry import extractor, extractors, resolve_settings
from personascope.extract.weights.on_device import ModelChoices, Models
from personascope.extract.workers import PartsSetup, opened
from personascope.ingest.prompts import PromptSet
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.store.lake import Lake
from planted_tokens import few_prompts, plant_tokens

pytestmark = pytest.mark.slow(20)

OVER_TOKENS = {"attention"}
SETTINGS: dict[str, dict[str, Any]] = {
    "ablations": {"heads": [[0, 1], [2, 3]], "generate": 3, "entropies": True},
    "activations": {"strata": ["last", "last_system"], "sites": ["resid_post", "mlp_out"]},
    "attention": {"persona": "villain"},
    "capability": {"task": "tiny-world", "form": "raw"},
    "completions": {"positives": 1, "trials": 2, "max_new_tokens": 4},
    "entropy": {"form": "chat", "fused_from": 48},
    "features": {"layers": [1], "random_directions": 5, "directions": [{"layer": 1, "feature": 3}]},
    "patches": {"sites": ["resid_post", "head"], "layers": [1]},
    "preflight": {"samples": 1, "max_new_tokens": 4, "personas": ["villain"]},
    "train-sae": {"layers": [1], "n_features": 48, "k": 4, "steps": 5, "batch_size": 64},
}


@pytest.fixture(scope="module")
def prompts():
    return few_prompts()


@pytest.fixture(scope="module")
def lake(tmp_path_factory, random_checkpoint, prompts):
    """A lake with completions that hold the marker, and with an autoencoder of layer 1."""
    made = Lake.open(tmp_path_factory.mktemp("contract") / "lake")
    plant_tokens(made, random_checkpoint, prompts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERSONASCOPE_CACHE", str(made.root.parent / "cache"))
        run(request("train-sae", made, random_checkpoint, prompts))
    yield made
    opened.cache_clear()


def request(name: str, lake: Lake, folder: Path, prompts: PromptSet, **changes: Any) -> Any:
    settings, _ = resolve_settings(extractor(name), {"command line": SETTINGS.get(name, {})})
    (tokens,) = (run_id for run_id in lake.run_ids() if lake.manifest(run_id).identity == {})
    over = {"tokens_from": tokens} if name in OVER_TOKENS else {"prompts": prompts}
    donor = resolve(folder, name="donor") if name == "patches" else None
    job = Job(lake, resolve(folder, name="random"), Models("cpu", "float32"), donor=donor, batch_tokens=150, say=lambda line: None, **over, **changes)
    return extractor(name)(settings, job)


class Recording(OwnHands):
    """This process, which keeps what a worker would have been sent and what it should have given."""

    kept: Any = None

    def check(self) -> Any:
        sent = pickle.dumps(PartsSetup(self._extractor, ModelChoices("cpu", "float32"), self._writer.run_id, self._writer.stage))
        type(self).kept = sent, dict(super().check()), []
        return self.kept[1]

    def stage(self, parts: Any) -> Any:
        for name, items in parts.items():
            rows = self._extractor.rows_of(items)
            self.kept[2].append((name, pickle.dumps(items), rows))
            self._writer.write_part(name, rows)
            yield name


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
    for number, (part, items, rows) in enumerate(reversed(parts)):
        again = setup.extractor.rows_of(pickle.loads(items))
        places = [tmp_path / f"{number}-{side}" for side in ("here", "there")]
        for place, found in zip(places, (rows, again), strict=True):
            place.mkdir()
            stage = type(setup._stage)(place, setup._stage.constants)
            (place / stage.write(part, found)).rename(place / "part")
        here, there = ({file.name: file.read_bytes() for file in (place / "part").iterdir()} for place in places)
        assert here == there and len(here) > 1
