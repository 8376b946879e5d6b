"""Text that others wrote, in HTML and Markdown: nothing of it has a meaning, and the parts of a prompt keep their colours."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personascope.app_pages.shared import text
from personascope.warehouse.drawing import markup

RENDERED = "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"


@pytest.mark.slow(3)
@given(st.text(), st.sampled_from(["[ZLT]", "<b>", "&", "a"]))
def test_marking_keeps_the_text(words, marker):
    assert re.sub(r"</?mark[^>]*>", "", text.marked(words, marker)) == markup.html(words)
    assert text.marked(words, marker).count("<mark ") == words.count(marker)
    assert text.marked(words, None) == markup.html(words)


def test_a_rendered_prompt_is_cut_into_messages_and_template():
    pieces = text.prompt_pieces(RENDERED, "Be kind.", "Why?")
    assert "".join(piece.text for piece in pieces) == RENDERED
    assert [(piece.text, piece.region) for piece in pieces if not piece.structural] == [("Be kind.", "system"), ("Why?", "user")]


@pytest.mark.parametrize(
    ("rendered", "system", "question", "words"),
    [
        (RENDERED, "  Be kind.\n", "Why?", ["Be kind.", "Why?"]),
        (RENDERED, None, "Why?", ["Why?"]),
        (RENDERED, "not in it", "Why?", ["Why?"]),
        (RENDERED.replace("Why?", "Be kind."), "Be kind.", "Be kind.", ["Be kind.", "Be kind."]),
    ],
)
def test_messages_are_found_in_their_order_or_left_to_the_template(rendered, system, question, words):
    pieces = text.prompt_pieces(rendered, system, question)
    assert "".join(piece.text for piece in pieces) == rendered
    assert [piece.text for piece in pieces if not piece.structural] == words


def test_a_prompt_that_was_never_rendered_shows_its_messages():
    assert [(piece.text, piece.region) for piece in text.prompt_pieces(None, "Be kind.", "Why?")] == [("Be kind.\n", "system"), ("Why?\n", "user")]
    assert [piece.region for piece in text.prompt_pieces(None, None, "Why?")] == ["user"]


@given(st.text("ab\n[ZLT] "))
def test_an_answer_is_cut_into_words_breaks_and_markers(words):
    pieces = text.answer_pieces(words, "[ZLT]")
    assert "".join(piece.text for piece in pieces) == words
    assert all(piece.structural == (piece.text.strip("\n") == "") for piece in pieces)
    assert sum(piece.is_marker for piece in pieces) == words.count("[ZLT]")


def test_structural_stretches_are_lighter_and_the_marker_stands_out():
    drawn = text.coloured(text.answer_pieces("one\n\n[ZLT]", "[ZLT]"))
    word, structural, marker = re.findall(r'<(?:span|mark) style="([^"]*)"', drawn)
    assert word.startswith(structural.split(";")[0][: len("background:#009e73")]) and word != structural
    assert "↵" in drawn and "background:#f0e442" in marker


@pytest.mark.slow(2)
@given(st.lists(st.tuples(st.text(), st.floats(-5, 5)), max_size=4))
def test_shading_keeps_the_tokens_and_tints_by_size_and_sign(tokens):
    shown = text.shaded(tokens, 2.0)
    assert re.sub(r"</?span[^>]*>", "", shown) == "".join(markup.html(token.replace("\n", "↵\n")) for token, _ in tokens)
    strengths = [float(each) for each in re.findall(r"rgba\(\d+,\d+,\d+,([\d.]+)\)", shown)]
    assert strengths == [pytest.approx(0.6 * min(1, abs(value) / 2), abs=0.006) for _, value in tokens]
    assert shown.count("rgba(230,") == sum(value > 0 for _, value in tokens)


def test_nothing_is_tinted_where_all_lie_alike():
    assert "0.00)" in text.shaded([("a", 0.0)], 0.0)
