"""Serves the reports of the lake beside the app, under `/reports/`: with the way back to the app on top, and without a right to run anything."""

import re
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from personascope.app_pages.shared.root import lake_root
from personascope.warehouse.drawing.markup import html
from personascope.warehouse.drawing.report.shelf import FOLDER, INDEX, PAGE, reports
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.reading import page_names

# A report may have been written by a stranger: it shows pictures and its own styles, runs nothing, sends nothing and stands in no other page.
POLICY = "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
_HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
_FILE = re.compile(rf"{re.escape(INDEX)}|[^/]+/report\.(html|md)|[^/]+/(figures|more)/[^/]+\.(png|svg|pdf)")
_TYPES = {".md": "text/plain; charset=utf-8", ".png": "image/png", ".svg": "image/svg+xml", ".pdf": "application/pdf"}
_BACK = "font:15px sans-serif;margin:0 0 1.2rem"


def routes() -> list[Route]:
    """The addresses under which the files of the reports are found."""
    return [Route("/reports/{path:path}", _answer, methods=["GET"])]


def address(name: str) -> str:
    """Where the app serves the report of that folder."""
    return f"/reports/{quote(name)}/{PAGE}"


def _answer(request: Request) -> Response:
    """One file of the reports; 404 for whatever is none of theirs, and for links, which might lead out of the lake."""
    asked = str(request.path_params["path"])
    file = lake_root() / FOLDER / asked
    parts = Path(asked).parts
    steps = [lake_root() / FOLDER / Path(*parts[:length]) for length in range(len(parts) + 1)]
    if not _FILE.fullmatch(asked) or any(part.startswith(".") for part in parts) or any(step.is_symlink() for step in steps) or not file.is_file():
        return PlainTextResponse("personascope: no such report; `personascope report STUDY` writes one\n", 404, _HEADERS)
    if file.suffix == ".html":
        return HTMLResponse(_with_way_back(file.read_text(encoding="utf-8", errors="replace"), parts[0]), headers=_HEADERS)
    return FileResponse(file, media_type=_TYPES[file.suffix], headers=_HEADERS)


def _with_way_back(page: str, name: str) -> str:
    """The page with links to the Overview and to the pages of its study on top."""
    about = reports(Lake(lake_root())).get(name)
    pages = [each for each in about.pages if each in page_names()] if about else []
    links = [("overview", "Overview"), *((each, each.replace("_", " ").capitalize()) for each in pages)]
    nav = " · ".join(f'<a href="/{quote(to)}">{html(words)}</a>' for to, words in links)
    return page.replace("<body>", f'<body><p style="{_BACK}">← {nav}</p>', 1)
