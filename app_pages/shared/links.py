"""Links from one page of the app to another."""

from urllib.parse import urlencode


def page_link(page: str, **choices: str) -> str:
    """The address of a page, by the name of its folder, with these choices made; relative, so that it holds under any host."""
    return f"{page}?{urlencode(choices)}" if choices else page
