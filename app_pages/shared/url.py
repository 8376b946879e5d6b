"""Keeps the choices of a page in its address, so that a view can be shared and found again with the browser's back button."""

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from personascope.app_pages.shared.text import plain


class Choices:
    """The widgets of one page whose values are its address; a value the address asks for and the lake lacks gives the default and a note."""

    def __init__(self) -> None:
        """Call it where notes shall appear."""
        self._notes = st.container()

    def select(
        self,
        label: str,
        options: Sequence[str],
        key: str,
        default: str | None = None,
        labels: Mapping[str, str] | None = None,
        help: str | None = None,
        where: DeltaGenerator | None = None,
        bare: bool = False,
    ) -> str:
        """One of `options` (at least one) from a list; `labels` are what a reader sees. `bare`: the label is for screen readers only."""
        self._resolve(label, key, options, options[0] if default is None else default)
        visible: Literal["collapsed", "visible"] = "collapsed" if bare else "visible"
        drawn = (where or st).selectbox(label, list(options), key=key, format_func=_shown(labels), help=help, label_visibility=visible)
        return self._written(key, drawn)

    def segments(
        self,
        label: str,
        options: Sequence[str],
        key: str,
        default: str | None = None,
        labels: Mapping[str, str] | None = None,
        help: str | None = None,
        where: DeltaGenerator | None = None,
    ) -> str:
        """One of a few `options`, all of them in sight. Labels are read as Markdown: for words of the app, not of the lake."""
        self._resolve(label, key, options, options[0] if default is None else default)
        drawn = (where or st).segmented_control(label, list(options), key=key, format_func=_shown(labels), help=help, required=True)
        return self._written(key, str(drawn))

    def slider(
        self, label: str, low: float, high: float, step: float, key: str, default: float, help: str | None = None, where: DeltaGenerator | None = None
    ) -> float:
        """A number from `low` to `high`; the address may hold one between two steps."""
        asked = self._asked(key)
        if asked is not None:
            number = _number(asked)
            valid = number is not None and low <= number <= high
            st.session_state[key] = number if valid else default
            if not valid:
                self._note(label.lower(), asked, f"{default:g}")
        elif key not in st.session_state:
            st.session_state[key] = default
        drawn = float((where or st).slider(label, low, high, step=step, key=key, help=help))
        self._written(key, f"{drawn:g}")
        return drawn

    def text(self, label: str, key: str, placeholder: str = "", help: str | None = None, where: DeltaGenerator | None = None) -> str:
        """Free text; an empty one is not in the address."""
        asked = self._asked(key)
        if asked is not None:
            st.session_state[key] = asked
        return self._written(key, (where or st).text_input(label, key=key, placeholder=placeholder, help=help) or "")

    def page(self, n_pages: int, key: str, filters: Sequence[str]) -> int:
        """Number of a page, from 1; other filters than in the last run start at the first page again, in a new widget."""
        memory = st.session_state.setdefault(f"{key} memory", {"filters": list(filters), "version": 0, "number": 1})
        asked = st.query_params.get(key, "1")
        if memory["filters"] != list(filters):
            memory.update(filters=list(filters), version=memory["version"] + 1, number=1)
        elif asked != str(memory["number"]):
            valid = asked.isascii() and asked.isdigit() and 1 <= int(asked) <= n_pages
            memory.update(version=memory["version"] + 1, number=int(asked) if valid else 1)
            if not valid:
                self._note("page", asked, "1")
        elif memory["number"] > n_pages:
            memory.update(version=memory["version"] + 1, number=n_pages)
        if n_pages > 1:
            memory["number"] = st.pagination(n_pages, default=memory["number"], key=f"{key} {memory['version']}")
        self._written(key, str(memory["number"]) if memory["number"] > 1 else "")
        return memory["number"]

    def _asked(self, key: str) -> str | None:
        """What the address asks for, where it was typed, shared or gone back to rather than written by the last run of the page."""
        asked = st.query_params.get(key)
        return asked if asked is not None and (asked != st.session_state.get(_mirror(key)) or key not in st.session_state) else None

    def _resolve(self, label: str, key: str, options: Sequence[str], default: str) -> None:
        asked = self._asked(key)
        if asked is not None:
            st.session_state[key] = asked if asked in options else default
            if asked not in options:
                self._note(label.lower(), asked, default)
        elif st.session_state.get(key) not in options:
            st.session_state[key] = default

    def _note(self, what: str, asked: str, default: str) -> None:
        self._notes.warning(f"The address asks for {what} “{plain(asked)}”, which is not there; this is “{plain(default)}”.", icon=":material/link_off:")

    @staticmethod
    def _written(key: str, value: str) -> str:
        if value and st.query_params.get(key) != value:
            st.query_params[key] = value
        elif not value and key in st.query_params:
            del st.query_params[key]
        st.session_state[_mirror(key)] = value
        return value


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _mirror(key: str) -> str:
    return f"{key} in the address"


def _shown(labels: Mapping[str, str] | None) -> Callable[[str], str]:
    return (lambda option: labels.get(option, option)) if labels else str
