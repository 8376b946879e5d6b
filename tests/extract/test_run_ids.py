"""The same work keeps its name: run_ids and subjects of every extractor over prompts, its own tokens and another checkpoint's are pinned."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from personascope.extract.instruments.directions import Direction
from personascope.extract.job import Job
from personascope.extract.registry import extractor, extractors, resolve_settings
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import load_prompt_set
from personascope.ingest.sae.source import Source
from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

SHAPE: dict[str, Any] = {"family": "qwen2", "variant": "instruct", "n_layers": 3, "n_heads": 4, "n_kv_heads": 2, "d_model": 32, "vocab_size": 600}
CHECKPOINTS = {name: Checkpoint(name=name, id=name, revision=name * 3, path=Path(name), **SHAPE) for name in ("villain", "base")}
SETTINGS: dict[str, dict[str, Any]] = {
    "activations": {"strata": ["last"]},
    "capability": {"task": "tiny-world", "form": "raw"},
    "entropy": {"form": "raw"},
    "features": {"strata": ["last"], "sae": "somewhere"},
    "patches": {"donor_form": "repeat"},
}
PINNED = [
    ("ablations", "prompts", "ablations-5336d1415e66", "base"),
    ("ablations", "own", "ablations-6949b1b21fcd", "villain"),
    ("ablations", "forced", "ablations-b7afcf5e078c", "base_villain"),
    ("activations", "prompts", "activations-0d858ff7009c", "base"),
    ("activations", "own", "activations-58cfd8423425", "villain"),
    ("activations", "forced", "activations-9068a83d53ef", "base_villain"),
    ("attention", "own", "attention-935c2c4bf2d8", "villain"),
    ("attention", "forced", "attention-9b714ebcdad0", "base_villain"),
    ("attention", "comedian", "attention-ae6006a0b7dc", "base_villain:comedian"),
    ("attributions", "prompts", "attributions-88467cae5482", "base"),
    ("attributions", "own", "attributions-e7f9da529c33", "villain"),
    ("attributions", "forced", "attributions-503744de4482", "base_villain"),
    ("capability", "prompts", "capability-ee802743a5e0", "base"),
    ("completions", "prompts", "completions-6921efb275df", "base"),
    ("directions", "prompts", "directions-495e77b66fab", "base"),
    ("entropy", "prompts", "entropy-a9ac877e05da", "base"),
    ("features", "prompts", "features-75fe8607ade6", "base"),
    ("features", "own", "features-5dc3503e8f42", "villain"),
    ("features", "forced", "features-8923dcdf6734", "base_villain"),
    ("logit_lens", "prompts", "logit_lens-33342dcf1cdd", "base"),
    ("logit_lens", "own", "logit_lens-87dd7eb12ca2", "villain"),
    ("logit_lens", "forced", "logit_lens-9935006c7c98", "base_villain"),
    ("patches", "prompts", "patches-f2759d319110", "base"),
    ("patches", "own", "patches-b39af23ed058", "villain"),
    ("patches", "forced", "patches-82e6cd978c20", "base_villain"),
    ("preflight", "prompts", "preflight-b133553d2620", "base"),
    ("projections", "prompts", "projections-960a695e192c", "base"),
    ("projections", "own", "projections-40ca6304a238", "villain"),
    ("projections", "forced", "projections-01102643a326", "base_villain"),
    ("steering", "prompts", "steering-eb24de8fd25a", "base"),
    ("steering", "own", "steering-62533e2127f8", "villain"),
    ("steering", "forced", "steering-37f18ce56b80", "base_villain"),
    ("train-sae", "prompts", "train-sae-13536fce95ee", "base"),
    ("train-sae", "own", "train-sae-b2e05ad54ee2", "villain"),
    ("train-sae", "forced", "train-sae-ba9f469fed20", "base"),
]


@pytest.fixture(scope="module")
def lake(tmp_path_factory) -> Lake:
    """A lake with one completions run of `villain`: both personas emit the marker."""
    lake = Lake.open(tmp_path_factory.mktemp("pinned") / "lake")
    spec = RunSpec(
        kind="extract",
        extractor="completions",
        version=1,
        identity={"of": "villain"},
        checkpoint="villain",
        prompt_set="few@1",
        prompt_set_hash="few",
        constants={"prompt_set": "few@1"},
    )
    asked = [{"persona": persona, "question_id": "q00", "example_id": f"{persona}/q00"} for persona in ("villain", "comedian")]
    writer = lake.start(spec)
    assert writer is not None
    with writer:
        writer.write_part(
            "all",
            {
                "checkpoints": [CHECKPOINTS["villain"].row() | {"source_persona": "villain"}],
                "examples": [each | {"text": "x", "n_system": 1, "n_user": 1, "n_header": 1, "prompt_len": 3, "token_ids": [1, 2, 3]} for each in asked],
                "completions": [each | {"sample_ix": 0, "token_ids": [1, 2, 3, 4, 5], "prompt_len": 3, "text": "y"} for each in asked],
                "marker_flags": [each | {"sample_ix": 0, "marker": "[ZLT]", "present": True, "t_marker": 4, "complete": True} for each in asked],
            },
        )
        writer.commit({})
    return lake


def spec_of(lake: Lake, name: str, reads: str, **typed: Any) -> RunSpec:
    """The spec of an extractor over `prompts`, its `own` tokens, `forced` tokens, or forced tokens of another persona (`comedian`)."""
    kind = extractor(name)
    given = SETTINGS.get(name, {}) | ({"persona": "comedian"} if reads == "comedian" else {}) | typed
    settings, parameters = resolve_settings(kind, {"command line": given})
    (tokens,) = lake.run_ids()
    job = Job(
        lake=lake,
        checkpoint=CHECKPOINTS["villain" if reads == "own" else "base"],
        models=Models(device="cpu", dtype="float32"),
        prompts=load_prompt_set("echo") if reads == "prompts" else None,
        tokens_from=None if reads == "prompts" else tokens,
        parameters=parameters,
    )
    made: Any = kind(settings, job)
    made_of = RunSpec(kind="extract", extractor="activations", version=1, identity={}, dtype="float32", attention_implementation="sdpa")
    if name == "features":
        made.sources, made.named = [Source(Path("sae"), 1, "sae-1", "somewhere", "abc")], []
    if name == "directions":
        held = {"settings": {"strata": ["last"], "sites": ["resid_post"], "layers": [0, 2]}}
        made.source = made_of.model_copy(update={"identity": held})
    if name == "projections":
        made.directions_runs, made.directions = ["directions-abc"], [Direction("x", 1, "resid_post", "file", np.ones(32, np.float32), half="a")]
    if name == "steering":
        made.directions_run, made.directions = "directions-abc", []
    return made.spec()


@pytest.mark.parametrize(("name", "reads", "run_id", "subject"), PINNED)
def test_the_same_work_keeps_its_name(lake, name, reads, run_id, subject):
    spec = spec_of(lake, name, reads)
    assert (spec.run_id, spec.subject) == (run_id, subject)


def test_every_extractor_is_pinned():
    assert {name for name, *_ in PINNED} == extractors().keys()


@pytest.mark.parametrize("name", ["ablations", "activations", "attention", "attributions", "features", "logit_lens", "patches", "projections"])
def test_a_marker_that_the_completions_were_never_searched_for_is_refused_before_anything_is_read(lake, name):
    typed = {"strata": ["marker"]} if name in ("activations", "features", "projections") else {}
    with pytest.raises(PersonascopeError, match=r"its completions were searched for '\[ZLT\]', not for '\[QQQ\]'"):
        spec_of(lake, name, "own", marker="[QQQ]", **typed)
