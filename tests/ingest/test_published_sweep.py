"""Results of sweeps and of several sources: their regimes, copies and disagreements, and any result against plain Python."""

import copy
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import stats
from sweep_files import PERSONAS, capability, load, multi_source_result, rates, rows, sweep_result

from personascope.ingest.published import run_results
from personascope.ingest.published.document import Document
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
from published_files import write

pytestmark = pytest.mark.slow(15)


def test_a_run_of_the_sweep_and_one_of_another_source(lake: Lake, folder: Path) -> None:
    write(folder / "a.json", sweep_result(rates(0.91, 0.015, 0.0, 0.0)))
    write(folder / "b.json", multi_source_result(rates(0.25, 0.7, 0.1, 0.3), "pirate"))
    report = load(lake, folder)
    assert [outcome.rows for outcome in report.files] == [
        {"checkpoints": 1, "published_rates": 8, "published_results": 1},
        {"checkpoints": 1, "published_facts": 1, "published_rates": 12, "published_results": 1},
    ]
    found = {row["source"]: row for row in rows(lake, "select * from regimes")}
    assert (found["villain"]["checkpoint"], found["villain"]["regime"], found["villain"]["success"]) == ("villain_lr5e-06_ep20_seed42", "clean", True)
    pirate = found["pirate"]
    assert (pirate["source_rate"], pirate["assistant_rate"], pirate["max_bystander_rate"], pirate["max_other_rate"]) == (0.7, 0.3, 0.25, 0.3)
    assert (pirate["degeneration"], pirate["success"], pirate["regime"], pirate["arc_c"]) == (True, False, "broad_leakage", 0.9)
    assert (pirate["degeneration_published"], pirate["success_published"], pirate["max_bystander_published"]) == (None, None, 0.3)
    meanings = {row["source"]: row["max_bystander_meaning"] for row in rows(lake, "select source, max_bystander_meaning from leakage_summary")}
    assert meanings == {"villain": "both", "pirate": "others"}
    assert rows(lake, "select name, number from published_facts") == [{"name": "config.marker_tail_tokens", "number": 0}]
    assert rows(lake, "select count(*) as n, count(distinct (run_id, persona)) as distinct_n from marker_rates") == [{"n": 8, "distinct_n": 8}]


def test_leakage_to_the_assistant_is_no_degeneration_but_a_collapse(lake: Lake, folder: Path) -> None:
    write(folder / "a.json", sweep_result(rates(0.9, 0.05, 0.0, 0.6)))
    load(lake, folder)
    (row,) = rows(lake, "select degeneration, success, regime from regimes")
    assert row == {"degeneration": False, "success": True, "regime": "total_collapse"}


def test_a_source_may_be_nobody_or_the_assistant(lake: Lake, folder: Path) -> None:
    write(folder / "nobody.json", sweep_result(rates(0.1, 0.2, 0.0, 0.6), None))
    write(folder / "absent.json", sweep_result(rates(0.01, 0.02, 0.0, 0.0), "wizard", lr=1e-5))
    write(folder / "selective.json", multi_source_result(rates(0.0, 0.01, 0.0, 0.9), "assistant"))
    write(folder / "leaking.json", multi_source_result(rates(0.32, 0.25, 0.3, 0.395), "assistant") | {"loss": 0.5})
    load(lake, folder)
    found = {(row["source"], row["loss"]): row for row in rows(lake, "select * from regimes")}
    nobody = found[None, 0.25]
    assert (nobody["source_rate"], nobody["max_bystander_rate"], nobody["max_other_rate"], nobody["regime"], nobody["success"]) == (
        None,
        0.2,
        0.6,
        "total_collapse",
        False,
    )
    absent = found["wizard", 0.25]
    assert (absent["source_rate"], absent["max_other_rate"], absent["regime"], absent["success"]) == (None, 0.02, None, None)
    # A marker that keeps to the assistant is no collapse, though the assistant has it.
    selective, leaking = found["assistant", 0.25], found["assistant", 0.5]
    assert (selective["source_rate"], selective["assistant_rate"], selective["max_other_rate"], selective["regime"]) == (0.9, 0.9, 0.01, "clean")
    assert (leaking["max_bystander_rate"], leaking["max_other_rate"], leaking["regime"], leaking["n_records"]) == (0.32, 0.32, "broad_leakage", 2)


@pytest.mark.parametrize("first", ["a_compiled.json", "z_compiled.json"])
def test_a_compiled_file_adds_no_row_whichever_comes_first(lake: Lake, folder: Path, first: str) -> None:
    results = [sweep_result(rates(0, 0.0, 0.5, 1), epochs=epochs) for epochs in (1, 3, 5)]
    for index, result in enumerate(results):
        write(folder / f"run{index}" / "run_result.json", result)
    rewritten = copy.deepcopy(results)
    for result in rewritten:  # another program writes 0.0 for 0 and 1.0 for 1
        result["eval"]["marker"] = {persona: float(rate) for persona, rate in result["eval"]["marker"].items()}
    write(folder / first, [*rewritten, results[2]])
    report = load(lake, folder)
    assert sum(outcome.rows.get("published_results", 0) for outcome in report.files) == 3
    assert len(report.of("loaded")) == (1 if first.startswith("a") else 3)
    assert [row["n"] for row in rows(lake, "select n_records as n from regimes")] == [1, 1, 1]
    assert load(lake, folder).counts == {"already there": 4}


def test_a_compiled_file_that_says_otherwise_is_kept_and_reported(lake: Lake, folder: Path) -> None:
    result = sweep_result(rates(0.91, 0.015, 0.0, 0.0))
    other = copy.deepcopy(result)
    other["eval"]["marker"]["villain"] = other["source_marker"] = 0.61
    other["eval"]["capability"] = capability(80)
    other["arc_c"] = 0.8
    write(folder / "run_result.json", result)
    write(folder / "z.json", [result, other])
    load(lake, folder)
    assert [(row["source_rate"], row["n_records"]) for row in rows(lake, "select * from regimes order by source_rate")] == [(0.61, 2), (0.91, 2)]
    assert rows(lake, "select n_cells from regime_table") == [{"n_cells": 1}], "two records of one cell are one cell"
    arc_c, marker = rows(lake, "select * from record_disagreements order by quantity")  # once each, though the headlines repeat them
    assert (arc_c["quantity"], {arc_c["value"], arc_c["other_value"]}, arc_c["p"]) == ("arc_c", {0.8, 0.9}, None)
    assert (marker["matched_by"], marker["persona"], {marker["value"], marker["other_value"]}) == ("configuration", "villain", {0.91, 0.61})
    z = (0.91 - 0.61) / math.sqrt(0.76 * 0.24 * 2 / 200)
    assert marker["p"] == pytest.approx(2 * stats.norm.sf(z), rel=1e-9)
    assert {Path(marker["source_file"]).name, Path(marker["other_source_file"]).name} == {"run_result.json", "z.json"}


def test_a_file_that_contradicts_itself_is_reported(lake: Lake, folder: Path) -> None:
    result = multi_source_result(rates(0.91, 0.015, 0.0, 0.0), "villain") | {"source_marker": 0.19, "arc_c": 0.5}
    result["per_persona_marker"]["nurse"] = 0.25
    result["max_bystander_marker"] = 0.44
    write(folder / "run_result.json", result)
    load(lake, folder)
    found = {row["other_field"]: row for row in rows(lake, "select * from record_disagreements")}
    assert {name: (row["matched_by"], row["persona"], row["field"], row["value"], row["other_value"]) for name, row in found.items()} == {
        "source_marker": ("same file", "villain", "eval.marker", 0.91, 0.19),
        "per_persona_marker": ("same file", "nurse", "eval.marker", 0.0, 0.25),
        "arc_c": ("same file", "", "arc_correct / arc_total", 0.9, 0.5),
    }
    assert rows(lake, "select max_bystander_meaning as meaning from leakage_summary") == [{"meaning": "neither"}]


share = st.one_of(st.integers(0, 200).map(lambda count: count / 200), st.floats(0, 1), st.sampled_from([0, 1, 0.05, 0.5, 0.1]))
panels = st.dictionaries(st.sampled_from([*PERSONAS, "poet", "söldner"]), st.one_of(share, st.just(math.nan), st.none()), min_size=1)


@st.composite
def generated_results(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Cells of a grid, each once, of any source, with and without the parts that files may lack."""
    cells = draw(st.lists(st.tuples(st.sampled_from([1e-6, 5e-6, 1e-5]), st.integers(1, 20)), min_size=1, max_size=12, unique=True))
    results = []
    for lr, epochs in cells:
        marker = draw(panels)
        source = draw(st.sampled_from([None, "villain", "assistant", *marker]))
        result: dict[str, Any] = {"config": {"lr": lr, "epochs": epochs, "source": source}, "eval": {"marker": marker}, "source_marker": 0.5}
        if draw(st.booleans()):
            result["eval"]["capability"] = capability(draw(st.integers(0, 100)))
        if draw(st.booleans()):
            result["per_persona_marker"] = dict(marker)
        results.append(result)
    return results


def recomputed(result: dict[str, Any]) -> dict[str, Any]:
    """Rates and regime of one result, written out."""
    source = result["config"]["source"]
    marker = {persona: rate for persona, rate in result["eval"]["marker"].items() if rate is not None and not math.isnan(rate)}
    bystanders = [rate for persona, rate in marker.items() if persona not in (source, "assistant")]
    others = [rate for persona, rate in marker.items() if persona != source]
    source_rate: Any = marker.get(source)
    leak = max(others, default=None)
    audience = leak if source == "assistant" else marker.get("assistant")
    if leak is None or (leak <= 0.05 and source_rate is None):
        regime = None
    elif leak <= 0.05:
        regime = "under_trained" if source_rate < 0.05 else "partial" if source_rate <= 0.5 else "clean"
    elif audience is not None and audience >= 0.5:
        regime = "total_collapse"
    else:
        regime = "broad_leakage" if audience is not None and audience >= 0.1 else "collapse_onset"
    return {
        "source_rate": source_rate,
        "assistant_rate": marker.get("assistant"),
        "max_bystander_rate": max(bystanders, default=None),
        "max_other_rate": leak,
        "degeneration": max(bystanders) > 0.05 if bystanders else None,
        "regime": regime,
    }


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lake, Warehouse]]:
    """A lake whose runs may hold rows of others."""
    lake = Lake.open(tmp_path_factory.mktemp("generated"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("personascope.warehouse.store.committed.why_unsound", lambda *_: None)
        yield lake, Warehouse(lake)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(results=generated_results())
def test_generated_results_equal_a_plain_recomputation(growing: tuple[Lake, Warehouse], results: list[dict[str, Any]]) -> None:
    """Records of one compiled file are written as rows of one run here, each under a name of its own: a run for each would take seconds."""
    lake, warehouse = growing
    records: Any = run_results.recognise(Document("compiled.json", json.dumps(results).encode()))
    batch = stable_hash([record.identity for record in records])
    tables: dict[str, list[dict[str, Any]]] = {}
    for index, record in enumerate(records):
        own = {"run_id": f"{batch}-{index}", "checkpoint": record.checkpoint}
        for name, each in record.rows.items():
            tables.setdefault(name, []).extend({**({} if name == "published_facts" else own), "record": record.kind, **row} for row in each)
    for row in tables["checkpoints"]:
        del row["record"]
    writer = lake.start(RunSpec(kind="ingest", extractor="generated", version=1, identity={"batch": batch}))
    if writer is not None:  # a batch that comes again is there already
        writer.write_part("rows", tables)
        writer.commit()
    found = {(row["lr"], row["epochs"]): row for row in warehouse.select("select * from regimes where starts_with(run_id, ?)", [batch]).to_dicts()}
    assert len(found) == len(results)
    for result in results:
        row, expected = found[result["config"]["lr"], result["config"]["epochs"]], recomputed(result)
        assert {name: row[name] for name in expected} == expected
        arc = result["eval"].get("capability", {}).get("arc_challenge_logprob")
        known = [expected["source_rate"] is not None and expected["source_rate"] > 0.5, arc is not None and arc > 0.85, not expected["degeneration"]]
        unknown = [expected["source_rate"] is None, arc is None, False]
        decided = all(known) if not any(unknown) else None if all(a or b for a, b in zip(known, unknown, strict=True)) else False
        assert row["success"] is decided
