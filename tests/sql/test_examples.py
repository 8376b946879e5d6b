"""The queries that ship: each is says what it answers, and together with the pages they name every view."""

import re

import pytest

from personascope.warehouse.asking.named import examples
from personascope.warehouse.asking.shapes import query_columns
from personascope.warehouse.asking.views import ROOMS, rooms, views
from personascope.warehouse.home import HOME


def test_every_view_is_named_by_an_example_or_drawn_by_the_app():
    texts = [each.sql for each in examples().values()]
    texts += [path.read_text() for folder in ("app_pages", "warehouse/drawing") for path in (HOME / folder).rglob("*.py")]
    words = set(re.findall(r"\w+", " ".join(texts))) | views()["slice"].reads  # which the page of that name draws in turn
    assert [view for view in rooms() if view not in words] == []


def test_every_question_has_examples():
    assert {each.room for each in examples().values()} - {None} == set(ROOMS)


@pytest.mark.parametrize("name", examples())
def test_an_example_says_what_it_answers_and_its_chart_names_its_columns(name):
    example = examples()[name]
    assert example.description.endswith((".", "?")) and len(example.description) < 250 and example.sql
    columns = query_columns(example.sql)
    assert {value for role, value in example.chart.items() if role != "kind"} <= set(columns)
