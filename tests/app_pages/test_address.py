"""Choices in the address of a page: what the binding of Streamlit leaves out, on a page of two choices that hang together, and one name for one choice."""

import ast
from collections import defaultdict
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from personascope import app_pages

pytestmark = pytest.mark.slow

BOUND = {"select": 2, "segments": 2, "page": 1}  # functions of `address`, and where each takes its key


def drawn() -> None:
    import streamlit as st

    from personascope.app_pages.shared import address

    st.title("Fruit and places")
    fruit = address.select("Fruit", ["apple", "pear"], "fruit", labels={"apple": "an apple", "pear": "a pear"})
    places = {"apple": ["tree", "cellar", "pie"], "pear": ["tree", "pie", "jar"]}[fruit]
    place = address.select("Place", places, "place", default={"apple": "tree", "pear": "pie"}[fruit], labels={"pie": f"{fruit} pie"})
    cut = address.segments("Cut", ["whole", "half"], "cut", labels={"half": "in half"})
    number = address.page(3, "number", [fruit])
    st.text(f"{fruit} {place} {cut} {number}")
    address.leave()


@pytest.fixture
def opened():
    def of(**asked: str) -> AppTest:
        page = AppTest.from_function(drawn)
        page.query_params.update(asked)
        page.run()
        assert not page.exception
        return page

    return of


def seen(page: AppTest) -> str:
    return page.text[0].value


def test_defaults_stand_in_no_address_and_choices_do_in_the_words_of_the_list(opened):
    page = opened()
    assert seen(page) == "apple tree whole 1" and page.query_params == {}
    page = page.selectbox(key="fruit").select("pear").run()
    page = page.segmented_control(key="cut").set_value("half").run()
    assert seen(page) == "pear pie half 1" and page.query_params == {"fruit": "a pear", "cut": "in half"}
    assert seen(opened(**page.query_params)) == seen(page)
    page = page.segmented_control(key="cut").set_value("whole").run()
    assert "cut" not in page.query_params


def test_what_was_not_chosen_follows_a_default_that_hangs_on_another_choice(opened):
    page = opened().selectbox(key="fruit").select("pear").run()
    assert seen(page).startswith("pear pie") and "place" not in page.query_params
    page = page.selectbox(key="place").select("tree").run()
    page = page.selectbox(key="fruit").select("apple").run()
    assert seen(page).startswith("apple tree") and page.query_params == {}, "the choice has become the default"


def test_a_choice_that_is_called_otherwise_is_called_so_in_the_address(opened):
    page = opened(place="apple pie")
    assert seen(page).startswith("apple pie") and page.query_params == {"place": "apple pie"}
    page = opened(place="jar", fruit="a pear").selectbox(key="place").select("tree").run()
    assert page.query_params == {"fruit": "a pear", "place": "tree"}


def test_an_option_that_is_gone_gives_way_to_the_default_here_and_in_the_address(opened):
    page = opened(fruit="a pear", place="jar")
    assert seen(page).startswith("pear jar") and not page.warning
    page = page.selectbox(key="fruit").select("apple").run()
    assert seen(page).startswith("apple tree") and page.query_params == {} and not page.warning


def test_a_short_name_is_understood_and_becomes_the_words(opened):
    page = opened(fruit="pear", cut="half", place="tree")
    assert seen(page).startswith("pear tree half") and not page.warning
    assert page.query_params == {"fruit": "a pear", "cut": "in half", "place": "tree"}


@pytest.mark.parametrize(("key", "label"), [("fruit", "fruit"), ("place", "place"), ("cut", "cut"), ("number", "page")])
@pytest.mark.parametrize("asked", ["none *such*", "-1"])
def test_what_there_is_not_gives_the_default_and_one_note(opened, key, label, asked):
    page = opened(**{key: asked})
    assert seen(page) == "apple tree whole 1" and page.query_params == {}
    (note,) = [each.value for each in page.warning]
    assert f"asks for {label}" in note and "*such*" not in note
    assert not page.run().warning


def test_a_note_is_there_beside_a_short_name_too(opened):
    page = opened(fruit="plum", cut="half", place="tree")
    assert seen(page) == "apple tree half 1" and page.query_params == {"cut": "in half"}
    assert ["plum" in each.value for each in page.warning] == [True]


@pytest.mark.parametrize("key", ["fruit", "place", "cut"])
def test_a_key_without_a_value_is_none(opened, key):
    page = opened(**{key: "", "other": "kept"})
    assert seen(page) == "apple tree whole 1" and page.query_params == {"other": "kept"} and not page.warning


def test_another_filter_starts_at_the_first_page(opened):
    page = opened(number="3")
    assert seen(page).endswith("3")
    page = page.selectbox(key="fruit").select("pear").run()
    assert seen(page).endswith("1") and "number" not in page.query_params


def test_options_of_one_name_are_told_apart():
    def twins() -> None:
        import streamlit as st

        from personascope.app_pages.shared import address

        st.text(address.select("Run", ["run-1", "run-2", "run-3"], "run", labels={"run-1": "base", "run-2": "base"}))

    page = AppTest.from_function(twins)
    page.query_params["run"] = "base · run-2"
    assert seen(page.run()) == "run-2"
    assert page.selectbox(key="run").options == ["base · run-1", "base · run-2", "run-3"]


def test_one_key_belongs_to_one_page():
    """Streamlit forgets a key of the page that is left, also where the back button leads to it on another page."""
    pages = defaultdict(set)
    root = Path(app_pages.__file__).parent
    for file in root.rglob("*.py"):
        for key in keys(ast.parse(file.read_text(encoding="utf-8"))):
            pages[key].add(file.relative_to(root).parts[0])
    assert len(pages) > 40
    assert {key: found for key, found in pages.items() if len(found) > 1 or "shared" in found} == {"key": {"shared"}}


def keys(tree: ast.AST) -> set[str]:
    """The keys of bound widgets, as they are written."""
    found = set()
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute):
            named = {each.arg: each.value for each in call.keywords}
            if isinstance(call.func.value, ast.Name) and call.func.value.id == "address" and call.func.attr in BOUND:
                found.add(ast.unparse(call.args[BOUND[call.func.attr]]))
            elif "bind" in named and "key" in named:
                found.add(ast.unparse(named["key"]))
    return found
