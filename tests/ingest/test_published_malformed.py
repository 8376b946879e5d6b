"""Malformed results of sweeps, leakage experiments and panels: each is refused in a sentence, and files of another kind are skipped."""

import copy
from pathlib import Path
from typing import Any

import pytest
from sweep_files import analysis, leakage_result, load, panel, rates, sweep_result

from personascope.ingest.published import ingest_published
from personascope.warehouse.store.lake import Lake
from published_files import write

pytestmark = pytest.mark.slow(5)


def changed(file: Any, path: str, value: Any) -> Any:
    """A copy of `file` with `value` at the dotted path; None removes."""
    result = copy.deepcopy(file)
    *parents, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    inner = result
    for part in parents:
        inner = inner[part]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return result


SWEEP, LEAKAGE, PANEL = sweep_result(rates(0.9, 0.0, 0.0, 0.0)), leakage_result(rates(0.9, 0.0, 0.0, 0.0)), panel({"villain": 9, "nurse": 1})
STEP = {"step": 1, "personas": {"villain": {"marker_rate": 0.5, "found": 1, "total": 2}}}
MALFORMED: list[tuple[Any, str]] = [
    (changed(SWEEP, "config", None), "config is missing"),
    (changed(SWEEP, "config.lr", "5e-6"), "config.lr is '5e-6'; input should be a valid number"),
    (changed(SWEEP, "config.lr", True), "config.lr is True; input should be a valid number"),
    (changed(SWEEP, "config.epochs", 0), "config.epochs is 0; input should be greater than 0"),
    (changed(SWEEP, "config.source", 3), "config.source is 3; input should be a valid string"),
    (changed(SWEEP, "eval", []), "eval is []; input should be a valid dictionary"),
    (changed(SWEEP, "eval.marker", None), "eval.marker is missing"),
    (changed(SWEEP, "eval.marker", {}), "eval.marker is an object of 0 keys; dictionary should have at least 1 item"),
    (changed(SWEEP, "eval.marker.villain", 1.5), "eval.marker.villain is 1.5; expected a share of completions from 0 to 1"),
    (changed(SWEEP, "eval.structure.nurse", "half"), "eval.structure.nurse is 'half'; input should be a valid number"),
    (changed(SWEEP, "eval.capability.correct", 90.5), "eval.capability.correct is 90.5; input should be a valid integer"),
    (changed(SWEEP, "degeneration", 1), "degeneration is 1; input should be a valid boolean"),
    (SWEEP | {"per_persona_marker": {"villain": 2}}, "per_persona_marker.villain is 2; expected a share of completions from 0 to 1"),
    ([SWEEP, changed(SWEEP, "eval.marker.nurse", -1)], "1.eval.marker.nurse is -1; expected a share of completions from 0 to 1"),
    ([SWEEP, 7], "1 is 7; input should be a valid dictionary"),
    (changed(LEAKAGE, "condition", ""), "condition is ''; string should have at least 1 character"),
    (changed(LEAKAGE, "results.marker.all_personas", None), "results.marker.all_personas is missing"),
    (changed(LEAKAGE, "dynamics", [{"step": 1}]), "dynamics.0.personas is missing"),
    (changed(LEAKAGE, "dynamics", [STEP, STEP]), "dynamics.1.step is 1, which comes twice"),
    (changed(PANEL, "nurse.total", None), "nurse.total is missing"),
    (changed(PANEL, "nurse", 3), "nurse is 3; input should be a valid dictionary"),
    (changed(PANEL, "nurse.found", 101), "nurse.found is 101; expected at most its total, 100"),
    (changed(PANEL, "nurse.related_to", "villain"), "nurse.related_to is 'villain'; input should be a valid list"),
    ({"source": "villain", "source_marker": 2, "max_bystander": 0}, "source_marker is 2; expected a share of completions from 0 to 1"),
    (changed(analysis(), "pooled_rho", -1.2), "pooled_rho is -1.2; expected a cosine or correlation from -1 to 1"),
    (changed(analysis(), "pooled_p", 3), "pooled_p is 3; expected a p from 0 to 1"),
    (changed(analysis(), "per_persona.poet.cosine_to_source", 1.7), "per_persona.poet.cosine_to_source is 1.7; expected a cosine or correlation from -1 to 1"),
    (changed(analysis(), "per_persona.poet.all_rates", [0.0]), "per_persona.poet.all_rates has 1 rates; expected 3, one per entry of per_config"),
    (changed(analysis(), "per_config.1.epochs", 1), "per_config.1 repeats lr 1e-05 and epochs 1"),
    (changed(analysis(), "layer", "20"), "layer is '20'; input should be a valid integer"),
    ({"layer10": {"_aggregate": 1}}, "layer10._aggregate is 1; input should be a valid dictionary"),
    ({"layer10": {"_per_category": []}, "layer_10": {}}, "layer10._per_category is []; expected an object"),
    ({"layer10": {"_aggregate": {"n_pairs": 3}}, "layer_10": {}}, "layer_10 is the layer of layer10 too; expected each layer once"),
    ({"layer10": {"_per_source_detail": {"villain": {}}}}, "layer10._per_source_detail.villain is an object of 0 keys; expected a list"),
    ({"layer_10": {"centered_cosines": {"poet": "near"}}}, "layer_10.centered_cosines.poet is 'near'; expected a number"),
    ({"layer": 20, "pooled": {"peer": {"rho": 0.5, "p": 0.1}}, "related_only": {}}, "pooled.peer.n is missing"),
    ({"layer": 20, "pooled": {}, "per_source": {}}, "pooled.spearman_rho is missing"),
]


def test_each_malformed_file_costs_itself_only(lake: Lake, folder: Path) -> None:
    for index, (file, _) in enumerate(MALFORMED):
        write(folder / f"{index:02d}.json", file)
    write(folder / "good.json", SWEEP)
    report = ingest_published(lake, [folder])
    assert report.counts == {"failed": len(MALFORMED), "loaded": 1}
    reasons = {outcome.path: str(outcome.reason) for outcome in report.of("failed")}
    for index, (_, reason) in enumerate(MALFORMED):
        assert reasons[str(folder / f"{index:02d}.json")].startswith(reason), reasons[str(folder / f"{index:02d}.json")]


@pytest.mark.parametrize(
    "file",
    [
        {"config": {"lr": 1e-5}, "eval": {"accuracy": 0.5}},
        [],
        [[1, 2]],
        {"condition": "x", "results": {}},
        {"villain": {"rate": 0.5, "structured": 5, "total": 10}},
        {"layer10": {"entropy": 3.0}},
        {"layer": 20, "pooled": {}},
    ],
    ids=str,
)
def test_files_of_another_kind_are_skipped(lake: Lake, folder: Path, file: Any) -> None:
    write(folder / "other.json", file)
    assert load(lake, folder).counts == {"skipped": 1}
