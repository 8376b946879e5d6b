"""Weights that are rounded as they are loaded are others under the same id: one name over both is an error, and no pair, verdict or replication mixes them."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.claims.checking import check, judge
from personascope.warehouse.claims.reading import Claim
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))
ROUNDED = "4 bit by bitsandbytes"
COMMIT = "9" * 40
REUSED = "select finding from audit_checkpoint_name_reused"


def read(lake: Lake, tag: str, **checkpoint) -> None:
    row = {"checkpoint": "model", "id": "owner/model", "revision": COMMIT, "n_layers": 12} | checkpoint
    planted.write(lake, planted.spec("completions", checkpoint="model", tag=tag), checkpoints=[row])


@pytest.mark.parametrize(
    ("other", "finding"),
    [
        ({"quantisation": ROUNDED}, "stands for 2 sets of weights: owner/model at 999999999999, owner/model at 999999999999 in 4 bit by bitsandbytes"),
        ({"quantisation": "fp8 by vllm"}, None),
        ({"id": "owner/model/inside"}, "stands for 2 sets of weights: owner/model at 999999999999, owner/model/inside at 999999999999"),
        ({}, None),
    ],
)
def test_one_name_over_weights_as_saved_and_rounded_is_an_error(tmp_path, other, finding):
    lake = Lake.open(tmp_path / "lake")
    read(lake, "one")
    read(lake, "other", **other)
    assert Warehouse(lake).select(REUSED)["finding"].to_list() == ([finding] if finding else [])


def test_a_file_is_the_same_by_whatever_path_it_was_typed(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    read(lake, "here", id="model.gguf", revision="a" * 64)
    read(lake, "there", id="/data/model.gguf", revision="a" * 64)
    assert Warehouse(lake).select(REUSED).is_empty()
    read(lake, "another", id="/data/model.gguf", revision="b" * 64)
    assert Warehouse(lake).select(REUSED).height == 1


def test_a_sentence_is_judged_by_weights_as_saved_and_replicated_by_one_model_alone(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    read(lake, "one")
    spoken_of = {"checkpoint": "model", "id": "owner/model", "revision": COMMIT}
    query = "select max(n_layers) as layers from checkpoints where checkpoint = $model"
    fields = {"id": "layers", "statement": "It has 12 layers", "source": "own", "query": query, "expected": 12}
    claim = Claim.model_validate(fields | {"model": spoken_of})
    assert judge(Warehouse(lake), "study", claim).verdict == "confirmed"
    sibling = Claim.model_validate(fields | {"model": spoken_of | {"checkpoint": "another"}})
    assert [each.verdict for each in check(lake, "study", [sibling], "model")] == ["confirmed"]
    read(lake, "other", quantisation=ROUNDED)
    found = judge(Warehouse(lake), "study", claim)
    assert found.verdict == "not derivable"
    assert found.detail.startswith(f"model in this lake is owner/model at {COMMIT} with weights in {ROUNDED}; the sentence speaks of owner/model at 9")
    with pytest.raises(PersonascopeError, match=r"checkpoint 'model' stands for 2 sets of weights: .*; expected the name of one model"):
        check(lake, "study", [sibling], "model")


@pytest.mark.parametrize(
    ("trained", "base", "n_pairs"),
    [
        (None, None, 1),
        (ROUNDED, ROUNDED, 1),
        (None, ROUNDED, 0),
        ("8 bit by bitsandbytes", ROUNDED, 0),
        ("Q4_0 (Q4_0 1)", "Q4_0 (Q4_0 1)", 1),
        (f"{ROUNDED} of Q4_0 (Q4_0 1)", "Q4_0 (Q4_0 1)", 0),
    ],
)
def test_a_model_as_saved_and_a_rounded_one_make_no_pair(tmp_path, trained, base, n_pairs):
    lake = Lake.open(tmp_path / "lake")
    tokens = planted.spec("completions", checkpoint="trained")
    for name, quantisation, forced in (("trained", trained, False), ("base", base, True)):
        row = {"checkpoint": name, "id": name, "revision": "r", "quantisation": quantisation, "parent": None if forced else "base"}
        place = {"persona": "villain", "tokens_run": tokens.run_id, "example_id": "villain/q0", "sample_ix": 0, "position": 3}
        run = planted.spec("attention", checkpoint=name, subject=name, inputs=[tokens.run_id], dtype="float32")
        planted.write(
            lake,
            run,
            checkpoints=[row],
            positions=[place | {"stratum": "marker", "forced": forced}],
            attention=[place | {"layer": 0, "head": 0, "system": 0.5}],
        )
    assert Warehouse(lake).select("from reader_pairs").height == n_pairs


PRECISIONS = [
    ({}, {}, 1),
    ({"quantisation": ROUNDED}, {"quantisation": ROUNDED}, 1),
    ({}, {"quantisation": ROUNDED}, 0),
    ({"quantisation": f"{ROUNDED} of Q4_0 (Q4_0 1)"}, {"quantisation": "Q4_0 (Q4_0 1)"}, 0),
    ({}, {"dtype": "bfloat16"}, 0),
]


def read_as(lake: Lake, extractor: str, name: str, precision: dict, card: dict, rows: dict, **run) -> None:
    """One reading of `extractor` by a checkpoint `name` in a precision: fields of its run, and what its card says of its weights."""
    fields = {"dtype": "float32"} | {key: value for key, value in precision.items() if key == "dtype"}
    constants = run.pop("constants", {})
    spec = planted.spec(extractor, checkpoint=name, subject=name, **fields, **run).model_copy(update={"constants": constants})
    row = {"checkpoint": name, "id": name, "revision": "r", "quantisation": precision.get("quantisation")} | card
    planted.write(lake, spec, checkpoints=[row], **rows)


@pytest.mark.parametrize(("base", "instruct", "n_pairs"), PRECISIONS)
def test_base_and_instruct_in_another_precision_make_no_pair_and_are_told_of(tmp_path, base, instruct, n_pairs):
    lake = Lake.open(tmp_path / "lake")
    for variant, precision in (("base", base), ("instruct", instruct)):
        card = {"family": "ash", "variant": variant, "n_layers": 1, "n_heads": 1, "parent": None if variant == "base" else "base"}
        place = {"layer": 0, "head": 0, "path": "direct", "n_positions": 5, "mean": 1.0}
        rows = [place | {"category": category, "question_id": "q0", "example_id": f"{category}/q0"} for category in ("self_referent", "neutral")]
        read_as(lake, "entropy", variant, precision, card, {"entropy": rows}, prompt_set="set@1", constants={"prompt_set": "set@1", "form": "raw"})
    warehouse = Warehouse(lake)
    assert warehouse.select("from rfc_pairs").height == n_pairs
    missing = warehouse.select("select subject, finding, evidence from audit_missing_variant").rows()
    assert [subject for subject, *_ in missing] == ([] if n_pairs else [missing[0][0]]) and all(
        "no difference between instruct and base" in row[1] for row in missing
    )
    assert all(row[0].startswith("instruct") and warehouse.select(row[2]).height == 2 for row in missing)
    found = warehouse.select("select subject, finding from audit_settings_differ where subject like '%base%'").rows()
    name = "dtype" if "dtype" in instruct else "quantisation"
    assert [subject for subject, _ in found] == ([] if n_pairs else [f"entropy of base, {name}"])
    if found and not base:
        what = "dtype is float32, and bfloat16" if name == "dtype" else f"quantisation is none, and {ROUNDED}"
        assert found[0][1] == f"{what} in 1 of the 1 checkpoints it is compared with"


@pytest.mark.parametrize(("trained", "base", "n_pairs"), PRECISIONS)
def test_logit_lenses_of_the_marker_in_another_precision_make_no_pair(tmp_path, trained, base, n_pairs):
    lake = Lake.open(tmp_path / "lake")
    tokens = planted.spec("completions", checkpoint="trained")
    planted.write(lake, tokens, checkpoints=[{"checkpoint": "trained", "id": "trained"}])
    for name, precision in (("trained", trained), ("base", base)):
        place = {"persona": "villain", "question_id": "q0", "example_id": "villain/q0", "sample_ix": 0, "stratum": "marker", "position": 3, "layer": 0}
        lens = place | {"rank": 1, "token_id": 5, "target_id": 5, "target_rank": 1, "target_prob": 0.5, "target_logit": 4.0}
        read_as(lake, "logit_lens", name, precision, {}, {"logit_lens": [lens]}, inputs=[tokens.run_id])
    pairs = Warehouse(lake).select("select trained_run, base_run from marker_lens_pairs")
    assert pairs.height == 1 and pairs["base_run"].count() == n_pairs
