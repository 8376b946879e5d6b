"""The pages of the app as modules, found once in the life of a server: app.py itself is run anew whenever a page is drawn."""

import gc
from functools import cache
from types import ModuleType

from personascope import app_pages
from personascope.warehouse.modules import offering


@cache
def page_modules() -> dict[str, ModuleType]:
    """Every page by its address, in order: a folder of app_pages/ with a module `page` is one."""
    modules = offering(app_pages, "main", inside="page")
    return dict(sorted(modules.items(), key=lambda entry: (entry[1].ORDER, entry[0])))


@cache
def settle(_page: str) -> None:
    """Before a page is first drawn: Streamlit collects garbage behind every drawing, and what has been imported so far stays and need not be looked through."""
    gc.collect()
    gc.freeze()
