"""The reports of a lake: a folder each under `reports/`, beside its runs, and a page that lists them."""

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personascope.warehouse.documents import parse_json
from personascope.warehouse.drawing import markup
from personascope.warehouse.drawing.report.html import page
from personascope.warehouse.drawing.words import count
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.scratch import scratch
from personascope.warehouse.studies.model import StudyFile

FOLDER, INDEX = "reports", "index.html"
PAGE, TEXT, ABOUT = "report.html", "report.md", "report.json"
LARGEST_ABOUT = 100_000  # bytes


class About(BaseModel):
    """What a report says of itself, in `report.json`: whose it is, what it holds, and a hash of the runs that its lake held when it was written."""

    model_config = ConfigDict(frozen=True)

    study: str
    title: str
    sentence: str = ""
    pages: list[str] = Field(default_factory=list)
    n_figures: int = 0
    n_more: int = 0
    n_runs: int
    lake_state: str

    @classmethod
    def of(cls, lake: Lake, study: StudyFile) -> "About":
        """That of a report which is about to be written from the lake as it is."""
        return cls(study=study.name, title=study.title, pages=study.pages, n_runs=len(lake.run_ids()), lake_state=lake_state(lake))


def lake_state(lake: Lake) -> str:
    """A hash of which runs the lake holds and when each was made: another one says that a run came, went or was redone."""
    return stable_hash([[each.run_id, each.finished.isoformat()] for each in lake.manifests()])


def reports_folder(lake: Lake) -> Path:
    """Where the lake's reports stand; raises PersonascopeError where that is a link or a file, since nothing outside of the lake is written."""
    folder = lake.root / FOLDER
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise PersonascopeError(f"{folder}: is a link, or no folder; expected a folder of the lake itself, or another place (--output)")
    return folder


def is_on_shelf(lake: Lake, target: Path) -> bool:
    """Whether a folder stands among the reports of the lake."""
    return target.parent == lake.root / FOLDER


def reports(lake: Lake) -> dict[str, About]:
    """What the reports of the lake say of themselves, by the names of their folders; a folder that holds none is left out."""
    folder = lake.root / FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return {}
    found = {entry.name: _read(entry) for entry in sorted(folder.iterdir()) if not entry.name.startswith(".") and not entry.is_symlink() and entry.is_dir()}
    return {name: about for name, about in found.items() if about is not None}


def _read(folder: Path) -> About | None:
    path = folder / ABOUT
    try:
        if path.is_symlink() or not path.is_file() or not (folder / PAGE).is_file() or path.stat().st_size > LARGEST_ABOUT:
            return None
        return About.model_validate(parse_json(path.read_bytes()))
    except (OSError, PersonascopeError, ValidationError):
        return None


def write_index(lake: Lake) -> Path:
    """Writes the page that lists the reports of the lake, in the place of an earlier one, by one rename. Raises OSError."""
    path = reports_folder(lake) / INDEX
    lake.staging_folder.mkdir(exist_ok=True)
    with scratch(lake.staging_folder) as making:
        made = making / INDEX
        with made.open("w", encoding="utf-8") as file:
            file.write(index(reports(lake)))
            file.flush()
            os.fsync(file.fileno())
        made.replace(path)
    return path


def index(found: dict[str, About]) -> str:
    """The page: each report with its answer, and what it holds."""
    entries = "".join(_entry(name, about) for name, about in found.items())
    return page("Reports of this lake", f"<h1>Reports of this lake</h1>\n{entries or '<p>No report has been written yet.</p>'}")


def _entry(name: str, about: About) -> str:
    more = f" and {about.n_more} beside it" if about.n_more else ""
    return (
        f'<h2><a href="{markup.html(name)}/{PAGE}">{markup.html(about.title)}</a></h2>\n<p>{markup.html(about.sentence)}</p>\n'
        f'<p class="about">{markup.html(about.study)}: {count(about.n_figures, "figure")}{more}; the lake held {count(about.n_runs, "run")}. '
        f'<a href="{markup.html(name)}/{TEXT}">Markdown</a></p>\n'
    )
