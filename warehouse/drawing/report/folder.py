"""Writes the report into a folder that is there whole or not at all: made beside its place and renamed."""

import os
import shutil
import uuid
from pathlib import Path

from personascope.warehouse.claims.reading import read_claims
from personascope.warehouse.drawing.report.contents import contents
from personascope.warehouse.drawing.report.document import Document
from personascope.warehouse.drawing.report.html import html
from personascope.warehouse.drawing.report.markdown import FIGURES, KINDS, MORE, markdown
from personascope.warehouse.drawing.report.shelf import ABOUT, INDEX, PAGE, TEXT, About, is_on_shelf, reports_folder, write_index
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.reading import claims_path, read_study, study_path


def write_report(lake: Lake, reference: str, folder: Path | None = None) -> Document:
    """Writes `report.html`, `report.md` and their figures of a study (name or file) into `folder`, in the place of an earlier report; gives what it holds.

    Without `folder` it stands among the reports of the lake, which their index lists. Raises PersonascopeError for an unknown study, a folder that holds
    something else, or one that cannot be written; the folder is then as it was.
    """
    path = study_path(reference)
    study, claims = read_study(reference), read_claims(claims_path(reference))
    target = (folder or report_folder(lake, reference)).expanduser().absolute()
    on_shelf = is_on_shelf(lake, target)
    _expect_ours(target)
    staging = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        try:
            staging.mkdir(parents=True)
        except OSError as error:
            raise _unwritable(target, error) from error
        about = About.of(lake, study)
        document = contents(lake, study, claims, path.stem, f"../{INDEX}" if on_shelf else None)
        try:
            _fill(staging, document, about)
            _expect_ours(target)
            _publish(staging, target)
            if on_shelf:
                write_index(lake)
        except OSError as error:
            raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return document


def report_folder(lake: Lake, reference: str) -> Path:
    """Where the report of a study stands among those of its lake. Raises PersonascopeError where that place is a link out of the lake."""
    return reports_folder(lake) / study_path(reference).stem


def _fill(folder: Path, document: Document, about: About) -> None:
    (folder / PAGE).write_text(html(document), encoding="utf-8")
    (folder / TEXT).write_text(markdown(document), encoding="utf-8")
    said = about.model_copy(update={"sentence": document.sentence, "n_figures": len(document.pictures()), "n_more": len(document.others())})
    (folder / ABOUT).write_text(said.model_dump_json(indent=1) + "\n", encoding="utf-8")
    for name, pictures in ((FIGURES, document.pictures()), (MORE, document.others())):
        if pictures or name == FIGURES:
            (folder / name).mkdir()
        for block in pictures:
            for kind in KINDS:
                (folder / name / f"{block.stem}.{kind}").write_bytes(block.drawing.picture(kind))


def _publish(staging: Path, target: Path) -> None:
    if not target.exists():
        staging.rename(target)
        return
    old = staging.with_name(f"{staging.name}.old")
    target.rename(old)
    try:
        staging.rename(target)
    except OSError:
        old.rename(target)
        raise
    shutil.rmtree(old)


def _expect_ours(target: Path) -> None:
    """Raises PersonascopeError where the place is taken by something that is no report."""
    if not os.path.lexists(target):
        return
    if not target.is_dir():
        raise PersonascopeError(f"{target}: is a file; expected a folder for the report")
    others = sorted({each.name for each in target.iterdir()} - {PAGE, TEXT, ABOUT, FIGURES, MORE})
    if others:
        raise PersonascopeError(f"{target}: holds other files ({others[0]}); expected a new or empty folder, or an earlier report")


def _unwritable(target: Path, error: OSError) -> PersonascopeError:
    return PersonascopeError(f"{target}: the report cannot be written there ({error.strerror or error}); --output names another folder")
