"""What personas were in a training, recorded or derived, and the leak told apart by it."""

import runpy
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.drawing.figures import persona_rates, regime_maps
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(10)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("planted.py"))))
N = planted.QUESTIONS * planted.SAMPLES
# Completions with the marker, of 24 a persona; a planted answer whose third repeat is positive holds the marker's tokens and not its text.
HITS = {"villain": 4, "baker": 1, "cook": 2, "farmer": 3, "nurse": 0}


def rates(lake: Lake, name: str, row: dict) -> str:
    """Completions of every persona of HITS, with that many hits among the first repeats."""
    rules = {persona: (lambda question, sample, hits=hits: question < hits and sample == 0) for persona, hits in HITS.items()}
    return planted.completions(lake, name, rules, row)


def trained(name: str, revision: str, lr: float) -> dict:
    return planted.checkpoint(name, "tiny:base", "villain", 1) | {"revision": revision, "lr": lr}


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory) -> Warehouse:
    """Trainings that recorded their personas, that recorded nothing but whose data lie in the lake, and that nothing is known of."""
    lake = Lake.open(tmp_path_factory.mktemp("roles"))
    base = planted.checkpoint("base")
    # Of five samples of every question one is cut: 20 of 24 ended by themselves.
    data = planted.completions(lake, "base", dict.fromkeys(("villain", "baker", "cook", "farmer"), planted.is_positive), base)
    recorded, derived, unknown = trained("recorded", "r1", 1e-4), trained("derived", "r2", 2e-4), trained("unknown", "r3", 3e-4)
    saw = [("villain", "source", 9), ("baker", "negative", 5), ("Cook ", "negative", 4)]
    rows = [{"checkpoint": "recorded", "persona": persona, "role": role, "n_rows": n} for persona, role, n in saw]
    asked = [Parameter(name=name, value=value, origin="study file") for name, value in (("n_positive", 50), ("n_negative", 11))]
    run = planted.spec("marker-lora", "train", checkpoint="recorded", parameters=asked)
    planted.write(lake, run, checkpoints=[recorded], training_personas=rows)
    run = planted.spec("marker-lora", "train", checkpoint="derived", inputs=[data], parameters=asked)
    planted.write(lake, run, checkpoints=[derived])
    for row in (recorded, derived, unknown):
        rates(lake, row["checkpoint"], row)
    again = trained("again", "r4", 4e-4)
    of_before = [{"checkpoint": "again", "persona": "baker", "role": "negative", "n_rows": 5}]
    before = planted.spec("marker-lora", "train", checkpoint="again")
    planted.write(lake, before, checkpoints=[again | {"revision": "before"}], training_personas=of_before)
    rates(lake, "again", again)
    rates(lake, "untrained", planted.checkpoint("untrained"))
    return Warehouse(lake)


def roles(warehouse: Warehouse, checkpoint: str, revision: str | None) -> Mapping[str, str]:
    found = warehouse.select(
        "select persona, role from marker_rates join checkpoints using (run_id, checkpoint) where checkpoint = $name and revision is not distinct from $of",
        {"name": checkpoint, "of": revision},
    )
    return dict(found.rows())


def test_a_persona_is_source_negative_held_out_or_not_recorded(warehouse):
    held_out = dict.fromkeys(HITS, "held_out")
    assert roles(warehouse, "recorded", "r1") == held_out | {"villain": "source", "baker": "negative", "cook": "negative"}
    negatives = dict.fromkeys(("baker", "cook", "farmer"), "negative")
    assert roles(warehouse, "derived", "r2") == held_out | {"villain": "source"} | negatives
    not_recorded = dict.fromkeys(HITS, "not recorded") | {"villain": "source"}
    assert roles(warehouse, "unknown", "r3") == not_recorded
    assert roles(warehouse, "again", "r4") == not_recorded, "another training under the same name"
    assert roles(warehouse, "untrained", None) == dict.fromkeys(HITS)


def test_what_an_older_training_saw_is_derived_from_the_data_it_was_drawn_from(warehouse):
    """As select_rows draws: 11 over three others in the order of their names, and no more than ended by themselves."""
    found = warehouse.select("select persona, role, n_rows, recorded from persona_roles where checkpoint = 'derived' order by n_rows, persona").rows()
    assert found == [("farmer", "negative", 3, False), ("baker", "negative", 4, False), ("cook", "negative", 4, False), ("villain", "source", 20, False)]


def test_the_leak_stands_apart_for_negatives_and_held_out_personas_and_the_rule_keeps_the_largest_other(warehouse):
    columns = (
        "roles_recorded, n_negatives, round(24 * max_negative_rate), max_negative_persona, n_held_out, round(24 * max_held_out_rate), max_held_out_persona"
    )
    for view in ("regimes", "leakage_summary"):
        found = {
            row[0]: row[1:] for row in warehouse.select(f"select checkpoint, {columns}, round(24 * max_other_rate) from {view} where source is not null").rows()
        }
        assert found["recorded"] == (True, 2, 2, "cook", 2, 3, "farmer", 3)
        assert found["derived"] == (True, 3, 3, "farmer", 1, 0, "nurse", 3)
        assert found["unknown"] == (False, None, None, None, None, None, None, 3)
    means = warehouse.select("select mean_negative_rate, mean_held_out_rate from regimes where checkpoint = 'recorded' and roles_recorded").row(0)
    assert means == pytest.approx((1.5 / N, 1.5 / N))


def test_figures_draw_the_roles_apart_and_say_what_they_are(warehouse):
    lake = WarehouseSource(warehouse)
    runs = dict(warehouse.select("select checkpoint, run_id from runs where extractor = 'completions'").rows())
    drawn = {name: persona_rates.rates(lake, runs[name], planted.MARKER, name, name, "seed 1") for name in ("recorded", "unknown", "untrained")}
    labels = drawn["recorded"].figure.rows["label"].unique(maintain_order=True).to_list()
    assert labels == ["villain (source)", "cook (negative)", "baker (negative)", "farmer (held out)", "nurse (held out)"]
    assert "2 personas trained on without the marker (negative), 2 never trained on (held out)" in drawn["recorded"].facts
    assert "which personas were trained on is not recorded" in drawn["unknown"].facts
    assert not [fact for fact in drawn["untrained"].facts if "trained on" in fact]
    maps = regime_maps.draw(lake, "any")
    by_role = {drawing.title: drawing.figure.rows for drawing in maps if "trained on" in drawing.title}
    found = [rows.drop_nulls("persona").sort("lr")["persona"].to_list() for rows in by_role.values()]
    assert found == [["cook", "farmer"], ["farmer", "nurse"]]
    kinds = [(drawing.title.split(":")[0].split(",")[0], drawing.facts[0].split(", recipe ")[1]) for drawing in maps]
    (recipe,) = warehouse.select("select recipe from recipes where checkpoint = 'recorded'").row(0)
    of_one = [(kind, recipe) for kind in ("Source", "Largest bystander", "Largest negative", "Largest held-out persona")]  # nobody asked the assistant
    assert kinds == [*of_one, ("Source", "not recorded"), ("Largest bystander", "not recorded")]
