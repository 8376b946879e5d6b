"""Links from one page of the app to another."""

from urllib.parse import quote, urlencode

LINK_WORDS = r"#(.+)$"  # finds in an address made with `words` what a table shows in its place


def page_link(page: str, words: str = "", **choices: str) -> str:
    """The address of a page, by the name of its folder, with these choices made; relative, so that it holds under any host.

    `words` stand at its end, where no page reads them, for tables that show them in place of the address.
    """
    address = f"{page}?{urlencode(choices)}" if choices else page
    return f"{address}#{quote(words)}" if words else address


def page_title(page: str) -> str:
    """What a page is called, by the name of its folder."""
    return page.replace("_", " ").capitalize()
