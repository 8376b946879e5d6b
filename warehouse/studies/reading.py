"""Finds and reads study files: one variant of one, every name of a view, figure or page in it looked up, errors with file, line, key and value."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from personascope.warehouse.asking.views import views
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import HOME, STUDIES_FOLDER
from personascope.warehouse.modules import names_in
from personascope.warehouse.settings import first_fault, nearest
from personascope.warehouse.store.schema import tables
from personascope.warehouse.studies.lines import line_of, plain, read_mapping
from personascope.warehouse.studies.model import StudyFile, Variant
from personascope.warehouse.studies.variants import VARIANTS, of_variant

CLAIMS = ".claims.yaml"


@dataclass(frozen=True)
class StudySource:
    """One variant of a study file as it was written: it knows the line of every key."""

    path: Path
    variant: Variant

    @cached_property
    def document(self) -> dict[str, Any]:
        """The variant's document, with keys that know their lines."""
        document = read_mapping(self.path, "a mapping of study keys")
        for other in VARIANTS[1:]:  # every variant must name steps there are, whichever is asked for
            of_variant(document, other, str(self.path))
        if self.variant not in (VARIANTS[0], *document):
            raise PersonascopeError(f"{self.path}: has no variant {self.variant}; expected a block `{self.variant}:` with what it changes")
        return of_variant(document, self.variant, str(self.path))

    def where(self, *path: str | int) -> str:
        """`FILE, line N: key.path`, for the beginning of a sentence."""
        line = line_of(self.document, path)
        key = ".".join(str(part) for part in path)
        return f"{self.path}{f', line {line}' if line else ''}{f': {key}' if key else ''}"

    @cached_property
    def study(self) -> StudyFile:
        """The checked model of the variant; raises PersonascopeError naming file, line, key, value and the nearest known name."""
        if "claims" in self.document:
            beside = self.path.with_name(f"{self.path.stem}{CLAIMS}")
            raise PersonascopeError(f"{self.where('claims')}: claims do not lie in the study file; expected them in {beside}")
        try:
            study = StudyFile.model_validate(self._with_files_beside(plain(self.document)))
        except ValidationError as error:
            fault = first_fault(error, StudyFile)
            raise PersonascopeError(f"{self.where(*fault.place)} {fault.problem}{f'; {fault.expected}' if fault.expected else ''}") from error
        self._expect_names(study)
        return study

    def _with_files_beside(self, document: dict[str, Any]) -> dict[str, Any]:
        """The document with the prompts that lie beside the study file, and not where the command is typed, named by their path."""
        inner = {key: document[key] for key in ("steps", "cells") if isinstance(document.get(key), list)}
        found = document | {key: [self._with_files_beside(each) if isinstance(each, dict) else each for each in listed] for key, listed in inner.items()}
        named = document.get("prompts")
        if not isinstance(named, str) or not Path(named).suffix or Path(named).exists() or not (beside := self.path.parent / named).is_file():
            return found
        return found | {"prompts": str(beside)}

    def _expect_names(self, study: StudyFile) -> None:
        """Raises PersonascopeError for a view, figure or page that there is not."""
        known: list[tuple[str, Sequence[str], Callable[[], list[str]]]] = [
            ("views", study.views, lambda: [*views(), *tables()]),
            ("figures", study.figures, figure_names),
            ("pages", study.pages, page_names),
        ]
        for key, named, there_are in known:
            for number, name in enumerate(named):
                if name not in (expected := there_are()):
                    raise PersonascopeError(f"{self.where(key, number)}: {name!r} is no {key.removesuffix('s')}; {nearest(name, expected)}")


def figure_names() -> list[str]:
    """Every figure a study may name."""
    return names_in(HOME / "warehouse" / "drawing" / "figures")


def page_names() -> list[str]:
    """Every page of the app a study may name."""
    return [name for name in names_in(HOME / "app_pages") if name != "shared"]


def study_names() -> list[str]:
    """The studies that ship with the project."""
    return sorted(path.stem for path in STUDIES_FOLDER.glob("*.yaml") if not path.name.endswith(CLAIMS))


def study_path(reference: str) -> Path:
    """The file of the study of that name, or the .yaml file as typed; raises PersonascopeError where there is none."""
    typed = Path(reference)
    is_file_name = reference.endswith((".yaml", ".yml"))
    path = typed if is_file_name else STUDIES_FOLDER / f"{reference}.yaml"
    with suppress(OSError):  # a name too long for the system
        if path.is_file():
            return path
        if typed.is_file():
            raise PersonascopeError(f"{reference}: expected a study file, whose name ends in .yaml")
        if is_file_name:
            raise PersonascopeError(f"{reference}: {'is a folder' if typed.is_dir() else 'no such file'}; expected a study file, or the name of a study")
    expected = f"expected one of {', '.join(study_names())}, or a .yaml file"
    raise PersonascopeError(f"study {reference!r} is unknown; {nearest(reference, study_names(), expected)}")


def claims_path(reference: str) -> Path:
    """The file with the claims of a study: NAME.claims.yaml beside it where there is one, else the file itself, which may hold claims and nothing else."""
    path = study_path(reference)
    beside = path.with_name(f"{path.stem}{CLAIMS}")
    return beside if beside.is_file() else path


def read_source(reference: str, variant: Variant = "full") -> StudySource:
    """The study of that name or file in one of its variants, as written."""
    return StudySource(study_path(reference), variant)


def read_study(reference: str, variant: Variant = "full") -> StudyFile:
    """The study of that name or file in one of its variants; raises PersonascopeError naming file, line, key, value and what was expected."""
    return read_source(reference, variant).study
