"""The bar of every page: what is chosen, what a page lacks, and what it does not tell apart."""

import ast
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from personascope import app_pages
from personascope.app_pages.shared.bar import KEYS
from personascope.tests.app_pages.test_address import keys

pytestmark = pytest.mark.slow


def drawn() -> None:
    import streamlit as st

    from personascope.app_pages.shared.bar import bar, place_query

    place = bar(checkpoints=["base", "tuned", "base"], personas=["villain"], layers=[10, 2])
    st.text(f"{place.checkpoint} {place.persona} {place.layer} {place.head}")
    st.text(str(place_query(layer=3, persona=None)))


def opened(**asked: str) -> AppTest:
    page = AppTest.from_function(drawn)
    page.query_params.update(asked)
    page.run()
    assert not page.exception
    return page


def test_all_is_the_default_and_a_choice_is_what_the_page_gets():
    page = opened()
    assert page.text[0].value == "None None None None" and page.query_params == {} and not page.caption
    assert page.selectbox(key="layer").options == ["all", "2", "10"] and page.selectbox(key="checkpoint").options == ["all", "base", "tuned"]
    page = page.selectbox(key="layer").select("10").run()
    assert page.text[0].value == "None None 10 None"
    page = page.selectbox(key="layer").select("all").run()
    assert page.text[0].value == "None None None None"


def test_what_the_page_lacks_stays_chosen_and_is_said():
    page = opened(persona="*librarian*", layer="2", head="1")
    assert page.text[0].value == "None None 2 None"
    assert page.query_params == {"persona": "*librarian*", "layer": "2", "head": "1"}, "for the next page"
    assert page.selectbox(key="head").disabled and not page.selectbox(key="layer").disabled
    assert page.caption[0].value.startswith("Persona \\*librarian\\* is not on this page: it shows all personas.")
    assert page.text[1].value == str({"layer": "3", "head": "1"})


def test_no_page_takes_a_key_of_the_bar():
    root = Path(app_pages.__file__).parent
    taken = {(file.name, key) for file in root.rglob("*.py") for key in keys(ast.parse(file.read_text(encoding="utf-8"))) if key.strip("'") in KEYS}
    assert taken == set()
