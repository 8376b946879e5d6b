"""Writes the report into a folder that is there whole or not at all: made beside its place and renamed."""

import os
import shutil
import uuid
from pathlib import Path

from personascope.warehouse.claims.reading import read_claims
from personascope.warehouse.drawing.charts import Kind
from personascope.warehouse.drawing.report.contents import contents
from personascope.warehouse.drawing.report.document import Document
from personascope.warehouse.drawing.report.html import html
from personascope.warehouse.drawing.report.markdown import FIGURES, markdown
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.reading import claims_path, read_study, study_path

PAGE, TEXT = "report.html", "report.md"
KINDS: tuple[Kind, ...] = ("png", "svg", "pdf")


def write_report(lake: Lake, reference: str, folder: Path) -> Document:
    """Writes `report.html`, `report.md` and `figures/` of a study (name or file) into `folder`, in the place of an earlier report; gives what it holds.

    Raises PersonascopeError for an unknown study, a folder that holds something else, or one that cannot be written; the folder is then as it was.
    """
    path = study_path(reference)
    study, claims = read_study(reference), read_claims(claims_path(reference))
    target = folder.expanduser().absolute()
    _expect_ours(target)
    staging = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        try:
            staging.mkdir(parents=True)
        except OSError as error:
            raise _unwritable(target, error) from error
        document = contents(lake, study, claims, path.stem)
        try:
            _fill(staging, document)
            _expect_ours(target)
            _publish(staging, target)
        except OSError as error:
            raise _unwritable(target, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return document


def _fill(folder: Path, document: Document) -> None:
    (folder / PAGE).write_text(html(document), encoding="utf-8")
    (folder / TEXT).write_text(markdown(document), encoding="utf-8")
    (folder / FIGURES).mkdir()
    for block in document.pictures():
        for kind in KINDS:
            (folder / FIGURES / f"{block.stem}.{kind}").write_bytes(block.drawing.picture(kind))


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
    others = sorted({each.name for each in target.iterdir()} - {PAGE, TEXT, FIGURES})
    if others:
        raise PersonascopeError(f"{target}: holds other files ({others[0]}); expected a new or empty folder, or an earlier report")


def _unwritable(target: Path, error: OSError) -> PersonascopeError:
    return PersonascopeError(f"{target}: the report cannot be written there ({error.strerror or error}); --output names another folder")
