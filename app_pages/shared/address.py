"""Choices whose values are a page's address, so that a view can be shared and the back button takes a choice back.

Streamlit's binding of widgets to the query does it: a choice stands in the address under its key, in the words a reader sees; a default does not stand there. A
slider or a text is bound where it is drawn (`bind="query-params"`). Here is what the binding leaves out, and one thing beside: an address may also name an
option as the code does (`?subject=villain&control=C2`).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlencode

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.errors import StreamlitAPIException

from personascope.app_pages.shared.text import plain

# A bound widget replaces the entry of the browser's history, so that the back button would leave the page; and what the app corrects in the address after a
# choice (a value that went with it, the choices of the page that is left) makes entries of its own. Here each act of the reader makes one entry.
HISTORY = """<script>
if (!window.actsMakeHistory) {
  window.actsMakeHistory = true;
  const push = history.pushState.bind(history), replace = history.replaceState.bind(history);
  let made = true;
  for (const act of ["pointerdown", "keydown"]) addEventListener(act, () => { made = false; }, true);
  addEventListener("popstate", () => { made = true; }, true);
  const enter = (state, title, url) => {
    (made ? replace : push)(state, title, url);
    made = true;
  };
  history.pushState = enter;
  history.replaceState = (state, title, url) => (String(url).startsWith(location.origin) ? enter : replace)(state, title, url);
}
</script>"""

OF_PAGE, UNKNOWN = "choices of page", "asked in vain"


def enter(page: str) -> None:
    """Call it in each run of the app with the page's address, before it is drawn: choices of another page are forgotten, those of this one make history."""
    if st.session_state.get(OF_PAGE, page) != page:
        st.session_state.clear()
    st.session_state[OF_PAGE] = page
    st.sidebar.html(HISTORY, unsafe_allow_javascript=True)


def leave() -> None:
    """Call it when a page was drawn to its end: what the address asked for in vain has been said."""
    st.session_state.pop(UNKNOWN, None)


def select(
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
    visible: Literal["collapsed", "visible"] = "collapsed" if bare else "visible"

    def draw(place: Any, default: str, shown: Callable[[str], str]) -> str:
        index = list(options).index(default)
        return place.selectbox(label, list(options), index, shown, key, help, label_visibility=visible, bind="query-params")

    return _chosen(label, options, key, default, labels, where, draw)


def segments(
    label: str,
    options: Sequence[str],
    key: str,
    labels: Mapping[str, str] | None = None,
    help: str | None = None,
    where: DeltaGenerator | None = None,
) -> str:
    """One of a few `options`, all of them in sight, the first by default. Labels are read as Markdown: for words of the app, not of the lake."""

    def draw(place: Any, default: str, shown: Callable[[str], str]) -> str:
        return place.segmented_control(label, list(options), format_func=shown, default=default, key=key, help=help, required=True, bind="query-params")

    return _chosen(label, options, key, None, labels, where, draw)


def some(names: Sequence[str], most: int, what: str, key: str) -> list[str]:
    """Those of many `names`, in their order, that a figure has room for: `most` at a time, among which one chooses. `what`: what they are."""
    if len(names) <= most:
        return list(names)
    panels = {f"{start // most + 1}": list(names[start : start + most]) for start in range(0, len(names), most)}
    labels = {number: f"{each[0]} to {each[-1]}" if len(each) > 1 else each[0] for number, each in panels.items()}
    words = f"{what} drawn, {most} at a time of {len(names):,}"
    return panels[select(words, list(panels), key, labels=labels, help="Choose one in the bar to see it alone.")]


def page(n_pages: int, key: str, filters: Sequence[str]) -> int:
    """Number of a page, from 1; other filters than in the last run start at the first page again."""
    asked, first = st.query_params.get(key), key not in st.session_state
    if st.session_state.setdefault(_last(key), list(filters)) != list(filters):
        st.session_state[_last(key)], st.session_state[key] = list(filters), 1
    number = st.pagination(n_pages, key=key, bind="query-params") if n_pages > 1 else 1
    if first and asked is not None and asked != str(number):
        _unknown()[key] = asked
    _say_unknown(st, "page", key)
    return number


def link(label: str, to: str, icon: str | None = None, where: DeltaGenerator | None = None, /, **query: str) -> None:
    """A link to another page of the app, in the same tab, with choices in its address; the bar keeps what `query` does not name."""
    place, known = where or st, {key: value for key, value in query.items() if value}
    try:
        place.page_link(st.Page(_elsewhere, title=label, url_path=to), label=label, icon=icon, query_params=known or None)
    except StreamlitAPIException:  # a page that is drawn alone, outside the app
        place.link_button(label, f"{to}?{urlencode(known)}", icon=icon, type="tertiary")


def _elsewhere() -> None:
    """Stands for a page that is known by its address."""


def _chosen(
    label: str,
    options: Sequence[str],
    key: str,
    default: str | None,
    labels: Mapping[str, str] | None,
    where: DeltaGenerator | None,
    draw: Callable[[Any, str, Callable[[str], str]], str],
) -> str:
    """Draws the widget; says so under it where the address asks for what there is not."""
    default = options[0] if default is None else default
    words = _words(options, labels or {})
    asked = st.query_params.get(key)
    if asked is not None and asked not in words.values() and key not in st.session_state:
        _name_as_shown(key, asked, words)
        _unknown()[key] = asked
    if key in st.session_state:
        # What was never chosen follows its default, which may hang on another choice, and what is gone from the options cannot stay. A value that is set by
        # code corrects the address, where it is called otherwise or has become the default.
        value, unchosen = st.session_state[key], asked is None and st.session_state.get(_last(key)) != default
        value = default if unchosen or value not in words else value
        if value != st.session_state[key] or asked != (None if value == default else words[value]):
            st.session_state[key] = value
    st.session_state[_last(key)] = default
    place = where or st
    value = draw(place, default, lambda option: words.get(option, option))
    _say_unknown(place, label, key)
    return value


def _name_as_shown(key: str, asked: str, words: Mapping[str, str]) -> None:
    """Starts again where the address holds an option as the code names it, or nothing, which would clear the widget."""
    if asked in words:
        st.query_params[key] = words[asked]
        st.rerun()
    if not asked:
        del st.query_params[key]
        st.rerun()


def _unknown() -> dict[str, str]:
    """What the address asked for in vain, by key; kept until a run of the page comes to its end."""
    return st.session_state.setdefault(UNKNOWN, {})


def _say_unknown(place: Any, label: str, key: str) -> None:
    if key in _unknown():
        words = f"The address asks for {label.lower()} “{plain(_unknown()[key])}”, which is not there."
        place.warning(words, icon=":material/link_off:")


def _words(options: Sequence[str], labels: Mapping[str, str]) -> dict[str, str]:
    """What each option is called, here and in the address; the option itself beside it where two would be called the same."""
    words = {option: labels.get(option, option) for option in options}
    times = Counter(words.values())
    return {option: word if times[word] == 1 else f"{word} · {option}" for option, word in words.items()}


def _last(key: str) -> str:
    return f"last of {key}"
