"""A parent is told whatever a card calls it, and the views that set a checkpoint beside its parent all take it from there."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(4)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))
PARENTS = {
    "by_id": ("Qwen/Qwen2.5-7B-Instruct", True),
    "by_name": ("base", True),
    "by_folder": ("/models/qwen", True),
    "packed": ("unsloth/qwen2.5-7b-instruct-bnb-4bit", False),
    "elsewhere": ("/home/me/Qwen2.5-7B-Instruct/", False),
}


def cards() -> list[dict]:
    base = planted.checkpoint("base") | {"id": "Qwen/Qwen2.5-7B-Instruct", "path": "/models/qwen"}
    others = {**{name: parent for name, (parent, _) in PARENTS.items()}, "stranger": "mistralai/Mistral-7B-v0.3"}
    return [base, *(planted.checkpoint(name, parent, "villain", 1) for name, parent in others.items())]


def test_a_parent_is_found_by_whatever_its_card_calls_it(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    runs = {card["checkpoint"]: planted.capability(lake, card, {1, 2, 3}) for card in cards()}
    warehouse = Warehouse(lake)
    rows = warehouse.select("select checkpoint, parent_checkpoint, is_exact from lineage order by all").rows()
    assert rows == sorted((name, "base", exact) for name, (_, exact) in PARENTS.items())
    beside = dict(warehouse.select("select checkpoint, parent_run from capability_scores").rows())
    assert beside == dict.fromkeys(PARENTS, runs["base"]) | {"base": None, "stranger": None}
    compared = warehouse.select("select distinct checkpoint from compared_runs where other_checkpoint = 'base' and why = 'parent'")["checkpoint"]
    assert set(compared) == set(PARENTS)
    related = dict(warehouse.select("select other_checkpoint, why from related_checkpoints where checkpoint = 'base'").rows())
    assert related == dict.fromkeys(PARENTS, "parent")
    related = dict(warehouse.select("select other_checkpoint, why from related_checkpoints where checkpoint = 'packed'").rows())
    assert related == {"base": "parent"} | dict.fromkeys(PARENTS.keys() - {"packed"}, "sibling")
    assert warehouse.select("from related_checkpoints where 'stranger' in (checkpoint, other_checkpoint)").is_empty()
    told = warehouse.select("select distinct checkpoint, other from slice_answers where other_checkpoint is not null").rows()
    assert set(told) == {(name, "against base on the same questions") for name in PARENTS}


def test_what_is_missing_of_a_parent_is_asked_of_it_by_the_name_it_was_read_under(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    base, *_, packed, _elsewhere, stranger = cards()
    planted.capability(lake, base, {1})
    for card in (packed, stranger):
        planted.completions(lake, card["checkpoint"], {"villain": lambda question, sample: True}, card)
    missing = Warehouse(lake).select("select checkpoint, tokens_from from coverage where extractor = 'attention' and status = 'missing' order by all").rows()
    own = [(name, name) for name in ("packed", "stranger")]
    assert missing == sorted([*own, ("base", "packed"), ("mistralai/Mistral-7B-v0.3", "stranger")])


def read_in(lake: Lake, card: dict, form: str, rendered: str) -> str:
    """A reading of four prompts of two categories that share question_ids, in one form."""
    examples = [
        {"example_id": f"{category}/q{index}", "category": category, "question_id": f"q{index}", "question": f"{category} {index}?"}
        | {"text": rendered.format(f"{category} {index}?"), "prompt_len": 3}
        for category in ("self_referent", "neutral")
        for index in range(2)
    ]
    run = planted.spec("entropy", checkpoint=card["checkpoint"], subject=card["checkpoint"], prompt_set="role@1", tag=form)
    run = run.model_copy(update={"parameters": [Parameter(name="form", value=form, origin="command line")]})
    return planted.write(lake, run, examples=examples, checkpoints=[card])


def test_two_forms_of_one_prompt_are_no_difference_and_a_template_that_changed_is_of_all_prompts(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    base, trained = cards()[:2]
    for card in (base, trained):
        read_in(lake, card, "raw", "{}")
        read_in(lake, card, "chat", "<user>{}")
    assert Warehouse(lake).select("from audit_prompts_differ").is_empty()
    read_in(lake, trained, "chat", "<human>{}")
    found = Warehouse(lake).select("select finding from audit_prompts_differ")["finding"].to_list()
    assert len(found) == 2 and all("unlike 1 of the 1 runs" in each and "4 of 4 prompts are others" in each for each in found)


def test_checkpoints_stand_beside_readers_of_the_same_tokens_and_trainings_without_a_parent(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    cards = [
        planted.checkpoint(name) | {"source_persona": source} for name, source in (("one", "villain"), ("two", "pirate"), ("reader", None), ("alone", None))
    ]
    sampled = {card["checkpoint"]: planted.completions(lake, card["checkpoint"], {"villain": lambda question, sample: True}, card) for card in cards}
    readings = (("attention", "one", "one"), ("attention", "reader", "one"), ("attention", "alone", "alone"), ("activations", "alone", "one"))
    for extractor, name, tokens in readings:
        run = planted.spec(extractor, checkpoint=name, subject=name, inputs=[sampled[tokens]], tag=f"{extractor} {name} {tokens}")
        planted.write(lake, run, checkpoints=[next(card for card in cards if card["checkpoint"] == name)])
    for name in ("one", "alone"):
        counted = planted.spec("bootstrap", checkpoint=name, subject=name, inputs=[sampled["one"]], tag=f"counted {name}").model_copy(
            update={"kind": "analysis"}
        )
        planted.write(lake, counted)
    found = Warehouse(lake).select("select checkpoint, other_checkpoint, why from related_checkpoints order by all").rows()
    pairs = {("one", "reader"): "same tokens", ("one", "two"): "sibling"}
    assert found == sorted((*side, why) for (a, b), why in pairs.items() for side in ((a, b), (b, a)))
    child = planted.checkpoint("child", "one", "villain", 1)
    for card in (child, cards[0]):
        run = planted.spec("entropy", checkpoint=card["checkpoint"], subject=card["checkpoint"], inputs=[sampled["two"]], tag=f"entropy {card['checkpoint']}")
        planted.write(lake, run, checkpoints=[card])
    nearest = Warehouse(lake).select("select why from related_checkpoints where checkpoint = 'child' and other_checkpoint = 'one'").item()
    assert nearest == "parent", "which it is, and a reader of the same tokens besides"
    pairs[("child", "one")] = nearest
    by_runs = Warehouse(lake).select("select distinct checkpoint, other_checkpoint from compared_runs where checkpoint <> other_checkpoint").rows()
    assert set(by_runs) == {side for a, b in pairs for side in ((a, b), (b, a))}
