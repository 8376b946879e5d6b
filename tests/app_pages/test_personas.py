"""The personas page: nearest and farthest, the map and its shares, and leakage against closeness are those of the views."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(12)
planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "sql" / "planted.py")))
CHOSEN = {"checkpoint": "base", "persona": "nurse", "layer": "1"}


@pytest.fixture(scope="module")
def personas_lake(tmp_path_factory):
    """Activations of six personas beside a sweep; do not write to it."""
    lake = Lake.open(tmp_path_factory.mktemp("personas") / "lake")
    runpy.run_path(str(Path(__file__).parents[1] / "sql" / "planted_personas.py"))["build"](lake)
    return lake.root


def words(page) -> str:
    return "\n".join(each.value for each in [*page.markdown, *page.caption])


def test_neighbours_map_and_matrix_are_those_of_the_views(open_page, charts, personas_lake):
    page = open_page(personas_lake, "personas", **CHOSEN)
    warehouse = Warehouse(Lake.existing(personas_lake))
    of = "where layer = 1 and stratum = 'last' and persona = 'nurse' and run_id = (select run_id from runs where checkpoint = 'base')"
    nearest = warehouse.select(
        f"select other_persona, corrected_centered, low_centered, high_centered from persona_cosine_intervals {of} order by corrected_centered desc"
    ).rows()
    name, value, low, high = nearest[0]
    said = words(page)
    assert f"Nearest to **nurse** at layer 1: {name} ({value:+.3f}, 95% {low:+.3f} to {high:+.3f})".replace("-", "\N{MINUS SIGN}") in said
    assert f"Farthest: {nearest[-1][0]}" in said and "3 activations a persona, 6 personas" in said and "jackknife interval over 3 questions" in said
    drawn = charts(page)
    mapped = drawn["Where personas lie to each other: base, layer 1"]
    expected = warehouse.select("select persona, x, y, x_share from persona_map where checkpoint = 'base' and layer = 1 and stratum = 'last' order by persona")
    assert mapped.rows.select("name", "x", "y").rows() == expected.select("persona", "x", "y").rows()
    assert f"({expected['x_share'][0]:.0%} and " in said
    assert drawn["Every persona against every other: base, layer 1"].rows.height == 36
    assert {"nurse", "others"} == set(mapped.rows["whose"]), "the legend names the chosen one"
    bands = drawn["Cosine to nurse, by layer: base"].rows.filter(layer=1, series=name)
    assert bands.select("mean", "low", "high").row(0) == pytest.approx(nearest[0][1:], rel=1e-6)


def test_leakage_stands_beside_closeness_with_its_p(open_page, charts, personas_lake):
    page = open_page(personas_lake, "personas", **CHOSEN)
    rho, p = (
        Warehouse(Lake.existing(personas_lake))
        .select(
            """select rho_personas, p_personas from leakage_cosine
        where source = 'villain' and layer = 1 and stratum = 'last' and centered and configuration = 'pooled' and reader = 'parent' and category is null"""
        )
        .row(0)
    )
    assert f"rho = {rho:+.3f}".replace("-", "−") in words(page) and f"{p:.2g}" in words(page)
    assert charts(page)["Near personas and the marker: base"].rows.height == 5


def test_raw_cosines_and_another_place_can_be_chosen(open_page, charts, personas_lake):
    page = open_page(personas_lake, "personas", **CHOSEN, centred="as they are", read_at="last token of the system block, output of the layer")
    assert "raw means" in words(page) and "last token of the system block" in words(page)
    assert "Every question gives the same activation" in words(page) and "No interval: fewer than three questions" in words(page)


def test_conditions_of_the_system_prompt_have_a_map_of_their_own(open_page, charts, tmp_path):
    """The four corners of a tetrahedron: any two conditions are equally far, and what lies along the longest edge holds most of the variance."""
    lake = Lake.open(tmp_path)
    corners = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) * [4.0, 2.0, 1.0] + 3
    rows = [
        {"persona": "none", "condition": f"c{index}", "question_id": f"q{question}", "example_id": f"c{index}/q{question}", "input_hash": f"{index}{question}"}
        | {"stratum": "last", "layer": 0, "site": "resid_post", "vector": (corner + 0.01 * question).tolist()}
        for index, corner in enumerate(corners)
        for question in range(3)
    ]
    planted.write(lake, planted.spec("activations", checkpoint="base", subject="base"), activations=rows, checkpoints=[planted.checkpoint("base")])
    found = Warehouse(lake).select("select condition, x, y, x_share, y_share, n from condition_map order by condition")
    assert found["x_share"].to_list() == pytest.approx([16 / 21] * 4) and found["y_share"].to_list() == pytest.approx([4 / 21] * 4) and set(found["n"]) == {3}
    assert [abs(each) for each in found["x"]] == pytest.approx([4] * 4) and [abs(each) for each in found["y"]] == pytest.approx([2] * 4)
    page = open_page(lake.root, "personas", persona="c1")
    drawn = charts(page)["Where conditions lie to each other: base, layer 0"]
    assert drawn.rows.select("name", "x", "y").rows() == found.select("condition", "x", "y").rows() and "4 conditions" in drawn.facts
    assert "Nearest to **c1** at layer 0" in words(page) and "Against leakage" not in [each.value for each in page.subheader]


def test_a_lake_without_activations_says_what_would_read_them(open_page, synthetic_lake):
    page = open_page(synthetic_lake, "personas")
    assert "personascope extract activations" in page.info[0].value
    assert [each.label for each in page.selectbox][:3] == ["Checkpoint", "Persona", "Layer"], "what was chosen elsewhere waits here too"
