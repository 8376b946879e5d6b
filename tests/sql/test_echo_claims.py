"""The claims of the echo study: undecided without the checkpoint of the write-up, and decided by its rows as the write-up has them, or against it."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.views import SHARED
from personascope.warehouse.claims.checking import check, judge
from personascope.warehouse.claims.reading import SpokenOf, read_claims
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.reading import claims_path

pytestmark = pytest.mark.slow(20)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted_circuits.py"))))
CLAIMS = {claim.id: claim for claim in read_claims(claims_path("echo"))}
CHECKPOINT, PROMPT_SET = "qwen2.5-1.5b-instruct", "echo@1"
WORDS = ["cat", "dog", *(f"w{number}" for number in range(42))]
LAYERS, HEADS, HEAD_LAYERS = 28, 12, (22, 23, 24)
MADE = ("logit_lens", "predictions", "examples", "attributions")
ECHO_LAYERS = [22] * 15 + [23] * 17 + [24] * 12
DETOUR = ("repeat/w5", 25)  # where the word comes with a space
LOSS = {2: 5.0, 0: 4.0, 7: 3.0}  # by zero ablation; the other heads lose next to nothing
DIRECT = {4: 0.065, 3: 0.06, 1: 0.05, 2: -0.059}


def key(form: str, word: str) -> dict:
    return {"question_id": word, "example_id": f"{form}/{word}", "prompt_form": form, "target": word, "stratum": "last", "position": 30}


def lens_rows(place: dict, emerges: int, target_id: int) -> list[dict]:
    rows = []
    for layer in range(-1, LAYERS):
        top = layer >= emerges
        token, script = (place["target"], "Latin") if top else ("请", "Han") if layer == emerges - 1 else ("x", "Latin")
        about = {"target_id": target_id, "target_rank": 1 if top else 2, "target_prob": 0.9 if top else 0.1, "target_logit": 5.0 if top else 1.0}
        ids = target_id if top else 5000 + (script == "Han")
        if (place["example_id"], layer) == DETOUR:
            token, ids = f" {place['target']}", 6000
        rows.append(place | {"layer": layer, "rank": 1, "token_id": ids, "token": token, "script": script, "logit": 5.0, "prob": 0.9} | about)
        rows.append(place | {"layer": layer, "rank": 10, "token_id": 9, "token": "y", "script": "Latin", "logit": -9.0, "prob": 1e-6})
    return rows


def build(lake: Lake) -> None:
    """Rows of the write-up's checkpoint as the write-up has them."""
    lens, predictions, attributions, ablations, activations, examples = [], [], [], [], [], []
    for form in ("echo", "repeat"):
        for number, word in enumerate(WORDS):
            place, emerges = key(form, word), ECHO_LAYERS[number] if form == "echo" else 22
            lens += lens_rows(place, emerges, number)
            predictions.append(place | {"target_id": number, "target_token": word, "top1_id": number, "top1_token": word, "correct": True, "target_prob": 0.9})
            attributions.append(place | {"component": "mlp", "layer": 22, "direct": 9.0})
            examples.append({"example_id": place["example_id"], "prompt_set": PROMPT_SET, "prompt_form": form, "target": word, "token_ids": [151644, number]})
            for layer in HEAD_LAYERS:
                for head in range(HEADS):
                    wobble = 1e-5 * head * number
                    here = place | {"layer": layer, "head": head}
                    attributions.append(here | {"component": "head", "direct": DIRECT.get(head, 1e-3 * head), "bos": 0.9 if head == 2 else 0.1})
                    lost = {"base_logit": 20.0, "logit": 20.0 - LOSS.get(head, 0.01 * (12 - head)) - wobble}
                    ablations.append(here | {"method": "zero", "target_id": number, "kl": 0.1} | lost)
            shared = {"example_id": place["example_id"], "question_id": word, "stratum": "last", "position": 30, "n_positions": 1}
            activations.append(shared | {"layer": 0, "site": "resid_pre", "input_hash": "same", "vector": [1.0, 0.0]})
            for layer, cosine in ((0, 0.95), (27, 0.87)):
                vector = [1.0, 0.0] if form == "echo" else [cosine, (1 - cosine**2) ** 0.5]
                activations.append(shared | {"layer": layer, "site": "resid_post", "input_hash": f"{form}{word}", "vector": vector})
    tables = {
        "logit_lens": {"logit_lens": lens, "predictions": predictions, "examples": examples},
        "attributions": {"attributions": attributions},
        "ablations": {"ablations": ablations},
        "activations": {"activations": activations, "examples": examples},
    }
    for extractor, rows in tables.items():
        run = planted.spec(extractor, checkpoint=CHECKPOINT, subject=CHECKPOINT, prompt_set=PROMPT_SET, dtype="float32")
        planted.write(lake, run.model_copy(update={"constants": {"prompt_set": PROMPT_SET}}), **rows)


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory):
    lake = Lake.open(tmp_path_factory.mktemp("echo") / "lake")
    build(lake)
    analyses.refresh(lake, ["rank-agreement"])
    return Warehouse(lake, kept=SHARED)


@pytest.mark.parametrize("name", CLAIMS)
def test_a_lake_as_the_write_up_has_it_confirms_its_claims(warehouse, name):
    verdict = judge(warehouse, "echo", CLAIMS[name])
    assert verdict.verdict == "confirmed", (verdict.found, verdict.detail)


@pytest.fixture(scope="module")
def other_checkpoint(tmp_path_factory):
    lake = Lake.open(tmp_path_factory.mktemp("other") / "lake")
    planted.build(lake)
    analyses.refresh(lake, ["rank-agreement"])
    return Warehouse(lake, kept=SHARED)


@pytest.mark.parametrize("name", CLAIMS)
def test_another_checkpoint_decides_nothing(other_checkpoint, name):
    verdict = judge(other_checkpoint, "echo", CLAIMS[name])
    assert verdict.verdict == "not derivable" and "Qwen2.5-1.5B-Instruct" in verdict.detail


def test_evidence_counts_every_prompt_once_however_many_runs_read_it(warehouse):
    assert ", prompts 88, " in f", {judge(warehouse, 'echo', CLAIMS['bos-cosine']).detail}"


def test_a_second_run_of_lens_and_attributions_changes_no_number(tmp_path, warehouse):
    """As with other prompts, or with more of each distribution kept: the newest run decides, and counts each prompt once."""
    lake = Lake.open(tmp_path / "lake")
    build(lake)
    for older in [run for run in lake.manifests() if run.extractor in ("logit_lens", "attributions")]:
        spec = planted.spec(older.extractor, checkpoint=CHECKPOINT, subject=CHECKPOINT, prompt_set=PROMPT_SET, dtype="float32", tag="again")
        rows = {name: lake.read(older.run_id, name).drop_columns(["run_id"]).to_pylist() for name in older.tables if name in MADE}
        planted.write(lake, spec.model_copy(update={"constants": {"prompt_set": PROMPT_SET}}), **rows)
    analyses.refresh(lake, ["rank-agreement"])
    twice = Warehouse(lake, kept=SHARED)
    for name in CLAIMS:
        one, other = judge(warehouse, "echo", CLAIMS[name]), judge(twice, "echo", CLAIMS[name])
        assert (one.verdict, one.found, one.detail) == (other.verdict, other.found, other.detail), name


def test_a_detour_of_the_model_contradicts_what_it_should(tmp_path, monkeypatch):
    lake = Lake.open(tmp_path / "lake")
    monkeypatch.setitem(build.__globals__, "ECHO_LAYERS", [23] * 44)
    monkeypatch.setitem(build.__globals__, "LOSS", {5: 5.0, 6: 4.0, 7: 3.0})
    build(lake)
    analyses.refresh(lake, ["rank-agreement"])
    found = Warehouse(lake, kept=SHARED)
    for name in ("echo-22-against-23", "ablation-heads-0-2-7", "head-2-always", "cat-one-case"):
        assert judge(found, "echo", CLAIMS[name]).verdict == "contradicted", name


def test_rows_of_another_model_under_the_name_decide_nothing_and_are_a_replication_where_asked_for(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    build(lake)
    analyses.refresh(lake, ["rank-agreement"])
    rows = {"id": "someone/else", "revision": "other"}
    planted.write(lake, planted.spec("checkpoint", checkpoint=CHECKPOINT), checkpoints=[rows])
    foreign = judge(Warehouse(lake), "echo", CLAIMS["same-answer"])
    assert foreign.verdict == "not derivable" and foreign.replication is False
    assert foreign.detail.startswith("qwen2.5-1.5b-instruct in this lake is someone/else at other; the sentence speaks of Qwen/Qwen2.5-1.5B-Instruct at 989aa")
    gone = SpokenOf(checkpoint="gone", id="some/model", revision="r")
    claims = [claim.model_copy(update={"model": gone}) for claim in list(CLAIMS.values())[:3]]
    asked = check(lake, "echo", claims, CHECKPOINT)
    assert [(each.verdict, each.model, each.replication) for each in asked] == [("confirmed", CHECKPOINT, True)] * 3
    assert check(lake, "echo", claims, CHECKPOINT) == asked
    found = Warehouse(lake).select("select model, claim from replications order by place")
    assert found.rows() == [(CHECKPOINT, claim.id) for claim in claims] and Warehouse(lake).select("from claims").is_empty()
    planted.write(lake, planted.spec("completions", checkpoint="bare"), checkpoints=[{"checkpoint": "bare", "id": "bare", "revision": "r"}])
    (nothing,) = check(lake, "echo", [CLAIMS["same-answer"]], "bare")
    assert (nothing.verdict, nothing.detail) == ("not derivable", "missing of bare: rows of predictions")
    with pytest.raises(PersonascopeError, match="checkpoint 'quen' is not in this lake"):
        check(lake, "echo", claims, "quen")
    with pytest.raises(PersonascopeError, match="none of its 1 claims can be asked of"):
        check(lake, "echo", [CLAIMS["task-done"].model_copy(update={"model": None})], CHECKPOINT)
