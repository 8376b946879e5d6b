"""What a checkpoint lost of a task is told against the run of its parent that was asked most alike, not against any."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(3)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))
ROUNDED = "4 bit by bitsandbytes"


def ask(lake: Lake, name: str, right: set[int], form: str, dtype: str = "float32", **card: str) -> str:
    """A capability run over ten questions of a task, in one form; of the parent where it is called base."""
    row = planted.checkpoint(name, parent=None if name == "base" else "tiny:base") | card
    run = planted.spec("capability", checkpoint=name, subject=name, dtype=dtype, tag=f"{form} {card}")
    asked = [
        {"task": "a-world@1", "question_id": f"q{index}", "answer": 0, "correct": index in right, "correct_normalised": index in right} for index in range(10)
    ]
    run = run.model_copy(update={"parameters": [Parameter(name="form", value=form, origin="command line")]})
    return planted.write(lake, run, capability=asked, checkpoints=[row])


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_of_several_runs_of_the_parent_the_one_asked_alike_is_beside(tmp_path, order):
    lake = Lake.open(tmp_path / "lake")
    child = ask(lake, "villain", {0, 1, 2}, "chat")
    runs = {}
    for number in order:
        right, form, dtype, card = [
            ({0, 1, 2, 3, 4}, "chat", "float32", {}),
            ({9}, "raw", "float32", {}),
            ({8}, "chat", "float32", {"quantisation": ROUNDED}),
            ({7}, "chat", "bfloat16", {}),
        ][number]
        runs[number] = ask(lake, "base", right, form, dtype, **card)
    columns = "parent_run, parent_accuracy, n_lost, n_gained, difference"
    assert Warehouse(lake).select(f"select {columns} from capability_scores where run_id = '{child}'").row(0) == (runs[0], 0.5, 2, 0, pytest.approx(-0.2))
    lake.delete(runs[0])
    left = Warehouse(lake).select(f"select parent_run from capability_scores where run_id = '{child}'").item()
    assert left == runs[3], "another precision rather than other weights, and either rather than another form"
    lake.delete(runs[3])
    lake.delete(runs[2])
    warehouse = Warehouse(lake)
    assert warehouse.select(f"select parent_run, n_lost from capability_scores where run_id = '{child}'").row(0) == (runs[1], 1)
    found = warehouse.select("select subject, finding from audit_settings_differ").rows()
    assert any("capability of villain, form" in subject and "form is chat, and raw" in finding for subject, finding in found), found


@pytest.mark.parametrize("order", [("raw", "chat"), ("chat", "raw")])
def test_a_cell_shows_what_its_task_came_to_when_it_was_asked_last(tmp_path, order):
    lake = Lake.open(tmp_path / "lake")
    card = planted.checkpoint("villain", "tiny:base", "villain", 1)
    planted.completions(lake, "villain", {"villain": lambda question, sample: True, "cook": lambda question, sample: False}, card)
    right: dict[str, set[int]] = {"raw": {0}, "chat": {0, 1, 2}}
    for form in order:
        ask(lake, "villain", right[form], form)
    assert Warehouse(lake).select("select capability from regimes").item() == pytest.approx(len(right[order[-1]]) / 10)
