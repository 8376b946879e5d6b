"""The page Power: what the planning functions say, from the lake's variances or from typed ones."""

import pytest

from personascope.warehouse.planning.power import Design, MeanEffect, RateEffect, power

pytestmark = pytest.mark.slow(5)


def test_typed_figures_give_the_power_of_the_design_and_its_sentence(open_page, charts, planted_lake):
    page = open_page(planted_lake.lake.root, "power", variances="typed", questions="50")
    stated = f"with power {power(RateEffect(0.05, 0.1), Design(50, 10)):.2f}"
    assert any(stated in each.value for each in page.code)
    rows = charts(page)["Power to see 5% → 10%"].rows
    found = rows.filter(questions=50, series="10 samples a question")["mean"].item()
    assert found == pytest.approx(power(RateEffect(0.05, 0.1), Design(50, 10)))


def test_the_variances_of_the_lake_are_taken_where_it_has_them(open_page, planted_lake):
    page = open_page(planted_lake.lake.root, "power", to_see="attention, trained minus base")
    assert any("upper quartiles of" in each.value and "layers" in each.value for each in page.caption)
    page = open_page(planted_lake.lake.root, "power", to_see="what a head is worth")
    assert "from which the variances of measure" in page.info[0].value


def test_typed_spreads_of_a_mean(open_page, planted_lake):
    page = open_page(planted_lake.lake.root, "power", to_see="what a head is worth", variances="typed")
    stated = f"with power {power(MeanEffect(0.05, 0.05, 0.05), Design(20, 10)):.2f}"
    assert any(stated in each.value for each in page.code)
