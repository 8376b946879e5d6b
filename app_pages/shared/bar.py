"""One bar at the top of every page: whose weights, under which persona, at which layer (and head); kept from page to page and in the address.

A page says what it can be filtered by and gets what the reader chose. The choices belong to the app and not to a page, so that Streamlit keeps them where the
reader goes to another page; one that another page lacks stays chosen and is said to be missing there.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.scriptrunner import get_script_run_ctx

from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.words import enumeration

ALL = "all"
NOTHING_YET = "Nothing to choose from yet."  # what the bar says of a page without data
KEYS = ("checkpoint", "persona", "layer", "head")
LABELS = {"checkpoint": "Checkpoint", "persona": "Persona", "layer": "Layer", "head": "Head"}
SEVERAL = {"checkpoint": "checkpoints", "persona": "personas", "layer": "layers", "head": "heads"}
HELP = {
    "checkpoint": "Weights that were read.",
    "persona": "Persona of the system prompt, or the one that was trained.",
    "layer": "Counted from 0.",
    "head": "Counted from 0 in its layer.",
}


@dataclass(frozen=True)
class Place:
    """What the reader chose and the page has; None: no restriction."""

    checkpoint: str | None = None
    persona: str | None = None
    layer: int | None = None
    head: int | None = None


def bar(
    *,
    checkpoints: Sequence[str] = (),
    personas: Sequence[str] = (),
    layers: Sequence[int] = (),
    heads: Sequence[int] = (),
    silent: str | None = None,
) -> Place:
    """Draws the bar and gives what is chosen of what the page offers.

    An empty offer is one the page cannot be filtered by: its choice is greyed and said not to apply, in the sentence `silent` or one of the bar's own. A head
    is asked for only where a page offers heads or one was chosen before.
    """
    offered = {
        "checkpoint": [*dict.fromkeys(checkpoints)],
        "persona": [*dict.fromkeys(personas)],
        "layer": [str(each) for each in sorted(set(layers))],
        "head": [str(each) for each in sorted(set(heads))],
    }
    shown = [key for key in KEYS if key != "head" or offered[key] or asked(key) is not None]
    chosen, missing = {}, []
    with _of_the_app():
        row = st.container(horizontal=True, vertical_alignment="bottom")
        for key in shown:
            value = _select(row, key, offered[key])
            if value != ALL and value in offered[key]:
                chosen[key] = value
            elif value != ALL and offered[key]:
                missing.append((key, value))
    _say(offered, missing, silent)
    numbers = {key: int(chosen[key]) if key in chosen else None for key in ("layer", "head")}
    return Place(chosen.get("checkpoint"), chosen.get("persona"), **numbers)


def asked(key: str) -> str | None:
    """What is chosen in the bar under one of `KEYS` before it is drawn, on this page or the last; None: all. For offers that hang on another choice."""
    value = st.session_state.get(key, st.query_params.get(key))
    return None if value in (None, "", ALL) else str(value)


def place_query(**choices: object) -> dict[str, str]:
    """The query of a link to another page that keeps what is chosen in the bar, but for `choices` (None: all)."""
    now: Mapping[str, object] = {key: asked(key) for key in KEYS} | choices
    return {key: str(value) for key, value in now.items() if value is not None}


def _select(row: DeltaGenerator, key: str, offered: list[str]) -> str:
    """The choice of one dimension; one that was made elsewhere stays an option, so that the next page may have it again."""
    kept = asked(key)
    options = [ALL, *offered, *([kept] if kept is not None and kept not in offered else [])]
    if key in st.session_state:
        value = st.session_state[key] if st.session_state[key] in options else ALL
        if value != st.session_state[key] or st.query_params.get(key, ALL) != value:
            st.session_state[key] = value  # a value that is set by code corrects the address
    return row.selectbox(
        LABELS[key], options, key=key, help=HELP[key], disabled=not offered, bind="query-params", width=170 if key in ("layer", "head") else 300
    )


def _say(offered: Mapping[str, list[str]], missing: list[tuple[str, str]], silent: str | None) -> None:
    """What of the bar does not apply here."""
    lines = [f"{LABELS[key]} {plain(value)} is not on this page: it shows all {SEVERAL[key]}." for key, value in missing]
    without = [SEVERAL[key] for key in KEYS if key != "head" and not offered[key]]
    if silent is not None:
        lines.append(silent)
    elif without:
        lines.append(f"This page does not tell {enumeration(without)} apart.")
    if lines:
        st.caption(" ".join(lines))


def _of_the_app() -> AbstractContextManager[None]:
    """Widgets drawn in it belong to the app: Streamlit keeps what is bound to the address by them when another page of the app is opened."""
    context = get_script_run_ctx()
    return nullcontext() if context is None else context.run_with_active_hash(context.pages_manager.main_script_hash)
