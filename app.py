"""The browser door: one entry per folder of app_pages/, the lake in the sidebar, and every error as one sentence."""

from functools import partial
from pathlib import Path
from types import ModuleType

import streamlit as st

from personascope import app_pages
from personascope.app_pages.shared import address
from personascope.app_pages.shared.lake import Source, enter
from personascope.app_pages.shared.modules import page_modules, settle
from personascope.app_pages.shared.root import ENVIRONMENT, lake_root
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.words import count
from personascope.warehouse.errors import PersonascopeError, sentence

SIDEBAR_WIDTH = 250
HOME = "start"
ICON = Path(app_pages.__file__).parent / "shared" / "icon.png"  # a named icon would be fetched from a host of fonts
# Streamlit keeps a sixth of a wide screen free around the page; charts over many layers need it. On a narrow one columns wrap and the margins go.
ROOMIER = """<style>
.stMainBlockContainer {padding: 3rem 3.5rem 4rem}
@media (max-width: 900px) {
  .stMainBlockContainer {padding: 3rem 1rem 4rem}
  .stHorizontalBlock {flex-wrap: wrap}
  .stHorizontalBlock > .stColumn {min-width: min(100%, 260px); flex-grow: 1}
}
</style>"""


def draw(page: ModuleType) -> None:
    """Draws one page of the lake, or the sentence that says why there is nothing to draw."""
    try:
        source = enter()
        show_sidebar(source)
        if source is None:
            here = f"There is no lake at {plain(lake_root())} yet: `personascope demo` makes one in a few minutes"
            st.info(f"{here}, and {ENVIRONMENT} or `personascope app --lake FOLDER` shows another.", icon=":material/water:")
        elif source.n_runs == 0:
            here = f"The lake {plain(lake_root())} holds no runs yet: `personascope demo` or `personascope ingest published PATH` brings some"
            st.info(f"{here}; then reload the page.", icon=":material/water:")
        else:
            page.main()
            address.leave()
    except PersonascopeError as error:
        st.error(plain(sentence(error)), icon=":material/error:")


def show_sidebar(source: Source | None) -> None:
    """Which lake this is, and how much is in it."""
    st.sidebar.caption("Lake")
    st.sidebar.code(str(lake_root()), language=None, wrap_lines=True)
    if source is not None:
        st.sidebar.caption(f"{count(source.n_runs, 'run')}. Reload the page to see new ones.")
        for line in source.left_out:
            st.sidebar.warning(f"Left out: {plain(line)}")


def pages() -> dict[str, st.Page]:
    """What there is to open: the first page stands at the root, and once more, unlisted, at an address of its own.

    No page has an icon of its own for Streamlit, which would fetch it from a host of fonts as the icon of the browser's tab; the sidebar draws them.
    """
    modules = page_modules()
    named = {name: _page(name, module) for name, module in modules.items()}
    return {HOME: _page(HOME, next(iter(modules.values())), default=True)} | named


def _page(name: str, module: ModuleType, default: bool = False) -> st.Page:
    return st.Page(partial(draw, module), title=module.TITLE, url_path=name, default=default)


def show_pages(there: dict[str, st.Page], at_root: bool) -> None:
    """The pages in the sidebar; at the root the first one is the page that is open."""
    for place, (name, module) in enumerate(page_modules().items()):
        st.sidebar.page_link(there[HOME if at_root and not place else name], label=module.TITLE, icon=module.ICON, width="stretch")


def main() -> None:
    """One rerun of the app."""
    there = pages()
    page = st.navigation([*there.values()], position="hidden")
    st.set_page_config(page_title=f"{page.title} · personascope", page_icon=str(ICON), layout="wide", initial_sidebar_state=SIDEBAR_WIDTH)
    st.html(ROOMIER)
    settle(page.url_path)
    address.enter(page.url_path)
    show_pages(there, at_root=page.url_path == "")
    page.run()


if __name__ == "__main__":
    main()
