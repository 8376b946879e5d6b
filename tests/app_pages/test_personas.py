"""The personas page: nearest and farthest, the map and its shares, and leakage against closeness are those of the views."""

import runpy
from pathlib import Path

import pytest

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(12)
CHOSEN = {"checkpoint": "base", "persona": "nurse", "layer": "1"}


@pytest.fixture(scope="module")
def personas_lake(tmp_path_factory):
    """Activations of six personas beside a sweep; do not write to it."""
    lake = Lake.open(tmp_path_factory.mktemp("personas") / "lake")
    runpy.run_path(str(Path(__file__).parents[1] / "sql" / "planted_personas.py"))["build"](lake)
    return lake.root


def words(page) -> str:
    return "\n".join(each.value for each in page.markdown)


def test_neighbours_map_and_matrix_are_those_of_the_views(open_page, charts, personas_lake):
    page = open_page(personas_lake, "personas", **CHOSEN)
    warehouse = Warehouse(Lake.existing(personas_lake))
    of = "where checkpoint = 'base' and layer = 1 and stratum = 'last' and persona = 'nurse' and other_persona <> 'nurse'"
    nearest = warehouse.select(f"select other_persona, cosine_centered from persona_cosines {of} order by cosine_centered desc").rows()
    said = words(page)
    assert f"Nearest to **nurse** at layer 1: {nearest[0][0]}" in said and f"Farthest: {nearest[-1][0]}" in said
    assert "3 activations a persona, 6 personas" in said and "no interval" in said
    drawn = charts(page)
    mapped = drawn["Where personas lie to each other: base, layer 1"]
    expected = warehouse.select("select persona, x, y, x_share from persona_map where checkpoint = 'base' and layer = 1 and stratum = 'last' order by persona")
    assert mapped.rows.select("persona", "x", "y").rows() == expected.select("persona", "x", "y").rows()
    assert f"({expected['x_share'][0]:.0%} and " in said
    assert drawn["Every persona against every other: layer 1"].rows.height == 36


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
    assert charts(page)["Near personas and the marker"].rows.height == 5


def test_raw_cosines_and_another_place_can_be_chosen(open_page, charts, personas_lake):
    page = open_page(personas_lake, "personas", **CHOSEN, centred="as they are", read_at="last token of the system block, output of the layer")
    assert "raw means" in words(page) and "last token of the system block" in words(page)
    assert any("Every question gives the same activation" in each.value for each in page.caption)


def test_a_lake_without_activations_says_what_would_read_them(open_page, synthetic_lake):
    page = open_page(synthetic_lake, "personas")
    assert "personascope extract activations" in page.info[0].value
    assert [each.label for each in page.selectbox][:3] == ["Checkpoint", "Persona", "Layer"], "what was chosen elsewhere waits here too"
