"""Words of others in Markdown and HTML mean nothing there, in a line and in a table."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from personascope.warehouse.claims.checking import VERDICTS
from personascope.warehouse.drawing import markup, tones

LINES = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Zs", "Zl", "Zp")))


@pytest.mark.parametrize("everywhere", [False, True])
@given(LINES)
def test_a_reader_of_markdown_sees_the_words(everywhere, words):
    parsed: list[Any] = MarkdownIt("commonmark").enable("strikethrough").parse("x " + markup.markdown(words, everywhere) + " x")
    assert [token.type for token in parsed] == ["paragraph_open", "inline", "paragraph_close"]
    assert {child.type for child in parsed[1].children} <= {"text", "text_special"}
    assert "".join(child.content for child in parsed[1].children).split() == f"x {words} x".split()


def test_a_word_with_underscores_stays_readable_and_emphasis_does_not():
    assert markup.markdown("mean_delta of _x_ and __init__") == "mean_delta of \\_x\\_ and \\_\\_init\\_\\_"
    assert markup.markdown("-0.12 (n = 3)") == "-0.12 (n = 3)"
    assert markup.markdown(" two\u2028lines, p\u00a0< 0.1 ") == "two lines, p\u00a0\\< 0.1", "what belongs together stays on one line"


@given(st.text())
def test_html_holds_no_tag_and_no_control_character(words):
    assert not re.search(r"[<>\"'\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", markup.html(words))


def test_what_would_vanish_or_turn_the_text_is_seen():
    assert markup.html("a\x00\x1b\u202eb\x7f\n") == "a␀␛⟨U+202E⟩b␡\n"


@given(st.lists(st.lists(LINES, min_size=2, max_size=2), max_size=4))
def test_a_table_has_as_many_cells_as_it_was_given(rows):
    columns = ["a|b", "n"]
    parsed: list[Any] = MarkdownIt("commonmark").enable("table").parse(markup.pipe_table(columns, rows, ["n"]))
    cells = ["".join(child.content for child in token.children).strip() for token in parsed if token.type == "inline"]
    assert cells == [" ".join(word.split()) for row in [columns, *rows] for word in row]


def test_cells_that_are_markdown_keep_it_and_none_is_empty():
    assert markup.pipe_table(["view", "n"], [["`a|b` \n**c**", None]], marked_up=True) == "| view | n |\n| --- | --- |\n| `a\\|b` **c** |  |\n"
    assert markup.pipe_table(["view", "n"], [["**c**", 0]], ["n"]) == "| view | n |\n| --- | ---: |\n| \\*\\*c\\*\\* | 0 |\n"


def test_every_verdict_has_a_tone_and_every_tone_can_be_read_on_white():
    assert set(tones.VERDICTS) == set(VERDICTS)
    for tone in (tones.GOOD, tones.DOUBTFUL, tones.BAD, tones.SILENT):
        red, green, blue = (int(tone.colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
        light = sum(w * (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4) for w, c in ((0.2126, red), (0.7152, green), (0.0722, blue)))
        assert 1.05 / (light + 0.05) >= 4.5
