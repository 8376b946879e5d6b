"""Grids: every combination once, longest first, named by its axes; what cannot be a grid is one sentence."""

from typing import Any

import pytest

from personascope.ingest.training.grid import grid_cells
from personascope.warehouse.errors import PersonascopeError

AXES: dict[str, Any] = {"source_persona": ["villain", "comedian"], "lr": [1e-4, 5e-6], "epochs": [3, 10], "seed": [42]}


def test_every_combination_is_one_cell_longest_first():
    cells = grid_cells(AXES, {"n_negative": 7})
    assert len(cells) == 8 == len({cell.name for cell in cells})
    assert [cell.settings.epochs for cell in cells] == [10] * 4 + [3] * 4
    assert cells[0].name == "comedian-lr0.0001-ep10-seed42" and cells[-1].name == "villain-lr5e-06-ep3-seed42"
    assert all(cell.settings.n_negative == 7 and cell.source_persona in cell.name for cell in cells)
    assert cells[0].axes == {"source_persona": "comedian", "lr": 1e-4, "epochs": 10, "seed": 42, "marker_tail_tokens": 0, "r": 8}


def test_further_axes_are_in_the_name_and_every_setting_knows_its_origin():
    cells = grid_cells({"source_persona": ["villain"], "marker_tail_tokens": [0, 2], "r": [4, 8]}, {"alpha": 8})
    assert {cell.name for cell in cells} == {f"villain-lr0.002-ep10-seed42-tail{tail}-r{r}" for tail in (0, 2) for r in (4, 8)}
    origins = {parameter.name: parameter.origin for parameter in cells[0].parameters}
    assert (origins["r"], origins["alpha"], origins["lr"]) == ("study file", "study file", "default")


def test_a_pattern_names_the_cells():
    cells = grid_cells({"source_persona": ["villain", "comedian"], "seed": [1, 2]}, {}, "{source_persona}-s{seed}")
    assert [cell.name for cell in cells] == ["comedian-s1", "comedian-s2", "villain-s1", "villain-s2"]
    (named,) = grid_cells({"source_persona": ["villain"]}, {}, "{parent}-{source_persona}", "smollm2")
    assert named.name == "smollm2-villain"
    with pytest.raises(PersonascopeError, match="is the same for several cells"):
        grid_cells({"source_persona": ["villain"], "seed": [1, 2]}, {}, "{source_persona}")
    with pytest.raises(PersonascopeError, match=r"cannot be filled in \('colour'\); expected parent or axes in braces"):
        grid_cells({"source_persona": ["villain"]}, {}, "{colour}")


@pytest.mark.parametrize(
    ("axes", "fixed", "message"),
    [
        ({"epoch": [1]}, {}, "grid axis 'epoch' is unknown; did you mean 'epochs'"),
        ({"colour": [1]}, {}, "expected one of source_persona, lr"),
        ({"source_persona": [False]}, {}, "grid axis 'source_persona' has the value False; expected a persona's name, in quotes"),
        ({"source_persona": ["villain"], "seed": [[1], [1]]}, {}, "each once"),
        (AXES | {"lr": []}, {}, "grid axis 'lr' has the values"),
        (AXES | {"lr": [1e-4, 1e-4]}, {}, "expected at least one, each once"),
        (AXES | {"lr": [0]}, {}, "'lr' is 0"),
        (AXES | {"lr": [float("nan")]}, {}, "'lr' is nan"),
        (AXES, {"lr": 1e-3}, "lr is an axis and a fixed setting at once"),
        ({"lr": [1e-4]}, {}, "no axis source_persona"),
    ],
)
def test_what_cannot_be_a_grid_is_named(axes, fixed, message):
    with pytest.raises(PersonascopeError, match=message):
        grid_cells(axes, fixed)
