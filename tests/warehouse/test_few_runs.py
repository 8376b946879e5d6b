"""A question about a few runs of many looks behind what is kept of all of them, and answers the same."""

import polars as pl
import pytest
from large_lake import kept_by, pretend
from polars.testing import assert_frame_equal

from personascope.warehouse.asking import narrowing, slices
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.slices import FEW, OF_READOUTS, SORTED, collect, parts
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.asking.views import OF_GENERATIONS, SHARED, lasting

BOUND = {  # by view, the columns that say which runs a row is about
    "attention_effects": ("run_id",),
    "attention_gates": ("run_id",),
    "gate_f": ("run_id", "subject"),
    "end_of_answer_contrast": ("run_id",),
    "diff_of_diffs": ("trained_run", "base_run"),
    "gate_counts": ("run_id",),
    "gate_windows": ("run_id",),
    "diff_of_diffs_summary": ("trained_run", "base_run"),
}


@pytest.fixture
def many(monkeypatch) -> None:
    pretend(monkeypatch)


def assert_same(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    """The same rows, but for the order in which sums were added."""
    assert found.height
    assert_frame_equal(found, expected, rel_tol=1e-12, abs_tol=1e-15)


@pytest.mark.slow(8)
@pytest.mark.parametrize("view", BOUND)
def test_a_bound_question_computes_nothing_of_all_runs_and_answers_the_same(planted_lake, many, view):
    lake = planted_lake.lake
    all_runs, few_runs = Warehouse(lake), Warehouse(lake, kept=SHARED, looks_behind=True)
    columns = BOUND[view]
    about = all_runs.select(f"select distinct {', '.join(columns)} from {view} order by all limit 2").rows(named=True)
    query = f"select * from {view} where {' and '.join(f'{name} = ${name}' for name in columns)} order by all"
    for names in about:
        assert_same(few_runs.select(query, names), all_runs.select(f"select * from {view} order by all").filter(**names))
    assert about and kept_by(few_runs).isdisjoint(OF_GENERATIONS)
    assert few_runs.select(f"select count(*) from {view}").item() > 0
    assert kept_by(few_runs) >= {view} & {*OF_GENERATIONS}
    assert_same(few_runs.select(query, about[0]), all_runs.select(query, about[0]))


def test_what_is_kept_and_needs_all_of_it_is_computed_of_all_runs(planted_lake, many):
    warehouse = Warehouse(planted_lake.lake, kept=SHARED, looks_behind=True)
    (run_id,) = warehouse.select("select min(run_id) from subjects").row(0)
    bound = "select count(*) from {} where run_id = $run"
    assert warehouse.select(bound.format("attention_effects join persona_magnitudes using (run_id)"), {"run": run_id}).item() > 0
    assert kept_by(warehouse) >= {"persona_magnitudes", "attention_effects"}


def test_a_lake_that_changed_is_not_read_by_what_its_runs_were(planted_lake, many):
    warehouse = Warehouse(planted_lake.lake, kept=SHARED, looks_behind=True)
    run_id = warehouse.select("select min(run_id) from subjects").item()
    warehouse._names = {}
    assert warehouse.select("select count(*) from attention_effects where run_id = $run", {"run": run_id}).item() > 0
    assert "attention_effects" in kept_by(warehouse)


def test_many_runs_and_questions_without_a_run_read_what_is_kept(planted_lake, many, monkeypatch):
    for few, query in ((100, "select count(*) from attention_effects where layer = 0"), (0, "select count(*) from attention_effects where run_id = $run")):
        monkeypatch.setattr(narrowing, "FEW", few)
        warehouse = Warehouse(planted_lake.lake, kept=SHARED, looks_behind=True)
        run_id = warehouse.select("select min(run_id) from subjects").item()
        assert warehouse.select(query, {"run": run_id} if "$run" in query else None).item() > 0
        assert "attention_effects" in kept_by(warehouse)


@pytest.mark.slow(8)
def test_the_slice_of_a_checkpoint_is_asked_of_its_readouts_and_is_all_there_is(planted_lake, many):
    lake = planted_lake.lake
    whole, warehouse = Warehouse(lake), Warehouse(lake, kept=lasting(), looks_behind=True)
    readouts = whole.select("select checkpoint, count(distinct run_id) as n from subjects group by checkpoint")
    n_readouts: dict[str, int] = dict(readouts.rows())
    checkpoints = whole.select("select distinct checkpoint from slice_places order by 1")["checkpoint"].to_list()
    for checkpoint in checkpoints:
        found = collect(WarehouseSource(warehouse), checkpoint, None, None, every=("persona", "layer"))
        of_parts = [whole.select(f"from {part} where checkpoint = $x order by {', '.join(SORTED)}", {"x": checkpoint}) for part in parts()]
        expected = pl.concat([each for each in of_parts if each.height], how="vertical_relaxed").select(found.columns)
        assert_same(found, expected)
    assert collect(WarehouseSource(warehouse), "nobody", None, None).is_empty()
    assert 1 in n_readouts.values() and any(1 < n <= FEW for n in n_readouts.values())
    assert kept_by(warehouse).isdisjoint(OF_GENERATIONS) and OF_READOUTS.keys() <= set(parts())


@pytest.mark.slow(6)
@pytest.mark.parametrize("few", [FEW, 0])
def test_of_two_checkpoints_the_readouts_of_the_same_tokens_are_compared(planted_lake, monkeypatch, few):
    monkeypatch.setattr(slices, "FEW", few)

    class OfOthers(WarehouseSource):
        """Two readouts of the base model, of which the second is told to be over other tokens."""

        def select(self, query, **parameters):
            rows = super().select(query, **parameters)
            last = pl.col("run_id") == pl.col("run_id").max()
            return rows.with_columns(tokens_from=pl.when(last).then(pl.lit("comedian")).otherwise("tokens_from")) if "from subjects" in query else rows

    source = OfOthers(Warehouse(planted_lake.lake))
    rows = {of: collect(source, "base", None, None, ("persona", "layer"), () if of is None else (of,)) for of in (None, "villain", "comedian", "nobody")}
    read = {of: set(each.filter(topic="attention")["run_id"]) for of, each in rows.items()}
    assert len(read["villain"]) == len(read["comedian"]) == 1 and read["villain"] | read["comedian"] == read[None]
    others = [each.filter(pl.col("topic").is_in(["attention", "heads"]).not_()) for each in rows.values()]
    assert collect(source, "base", None, None, ("persona", "layer"), ("villain", "comedian")).equals(rows[None])
    assert others[0].height and others[0].equals(others[1]) and rows[None].equals(rows["nobody"])
