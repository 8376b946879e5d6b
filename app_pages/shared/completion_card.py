"""One completion as a card: who wrote it, the question, and the text with the marker highlighted."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from personascope.app_pages.shared import address
from personascope.app_pages.shared.text import block, chips, marked
from personascope.warehouse.drawing import markup
from personascope.warehouse.drawing.words import count

SECTION = "One generation"  # of the page Marker attention


def show_card(row: Mapping[str, Any]) -> None:
    """Draws a row of the view `generations` with the column `question` beside it; with `read_by`, a subject that read it, the way to its attention."""
    facts = [f"{row['checkpoint']} as {row['persona']}", f"{row['question_id']} · repeat {row['sample_ix']}", count(row["n_new_tokens"], "token")]
    facts += ["cut at the token limit"] if row["truncated"] else []
    facts += ["marker incomplete"] if row["partial"] else []
    text = row["text"] or ""
    facts += [] if text.strip() else ["no text"]
    question = f'<div style="opacity:.75;margin:.2em 0 .4em">{markup.html(row["question"] or "")}</div>'
    with st.container(border=True):
        st.html(f"{chips(facts)}{question}{block(marked(text, row['marker']), max_height='18rem')}")
        if row.get("read_by"):
            query = {"checkpoint": row["checkpoint"], "persona": row["persona"], "subject": row["read_by"], "section": SECTION}
            address.link("Its attention", "marker_attention", ":material/center_focus_strong:", **query, example=f"{row['example_id']}#{row['sample_ix']}")
