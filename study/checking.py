"""Resolves every setting of a study before anything runs, and says where in the file something is wrong."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import duckdb

from personascope.extract.registry import extractor, extractors
from personascope.ingest.prompts import load_prompt_set
from personascope.ingest.training.grid import grid_cells
from personascope.study.cell import cells_of
from personascope.study.resolving import check_typed, resolve_step
from personascope.warehouse.analyses import analyses
from personascope.warehouse.asking.shapes import query_columns
from personascope.warehouse.claims.reading import read_claims
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import nearest
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.model import AnalyseStep, CellStep, ExtractStep, GridStep, StudyFile, TrainStep
from personascope.warehouse.studies.reading import StudySource, claims_path

Place = tuple[str | int, ...]


def check_study(source: StudySource, lake: Lake | None = None, typed: Mapping[str, Any] | None = None) -> StudyFile:
    """The study, with every setting, name, prompt set and query in it resolved; raises PersonascopeError with a sentence for each thing that is wrong.

    `lake` is where prompt sets that are neither shipped nor files may lie.
    """
    study = source.study
    found = list(_problems(source, study, lake, typed or {}))
    if found:
        raise PersonascopeError("\n".join(found if len(found) == 1 else [f"{len(found)} things are wrong in {source.path}:", *found]))
    check_typed(study, typed or {})
    return study


def _problems(source: StudySource, study: StudyFile, lake: Lake | None, typed: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each thing that is wrong, in the order of the file."""
    if study.prompts:
        yield from _refusal(source, ("prompts",), {}, lambda: load_prompt_set(study.prompts, lake))
    made: set[tuple[str, str]] = set()  # (name of the step, checkpoint) of every reading so far
    for number, step in enumerate(study.steps):
        place: Place = ("steps", number)
        if isinstance(step, ExtractStep):
            yield from _extract_problems(source, place, step, lake, typed)
            if isinstance(step.tokens, list) and step.extract in extractors():
                if not extractor(step.extract).reads_tokens:
                    yield f"{source.where(*place, 'tokens')}: {step.extract} reads prompts, not the completions of {', '.join(step.tokens)}; expected no tokens"
                yield from _missing_tokens(source, (*place, "tokens"), step.tokens_step, step.tokens, made)
            made |= {(step.step or step.extract, name) for name in step.checkpoints}
        elif isinstance(step, AnalyseStep):
            if step.analyse not in ("all", *analyses()):
                yield f"{source.where(*place, 'analyse')}: analysis {step.analyse!r} is unknown; {nearest(step.analyse, ['all', *analyses()])}"
        else:
            yield from _missing_tokens(source, (*place, "tokens_step"), step.tokens_step, [step.parent], made)
            yield from _training_problems(source, place, step)
            for index, cell in enumerate(step.cells if isinstance(step, GridStep) else []):
                yield from _extract_problems(source, (*place, "cells", index), cell, lake, typed)
                if cell.reader == "kept" and not step.settings.get("keep_steps"):
                    yield f"{source.where(*place, 'cells', index, 'reader')}: no checkpoint is kept to read; expected keep_steps in the grid's settings"
    yield from _query_problems(source, study)


def _extract_problems(source: StudySource, place: Place, step: ExtractStep | CellStep, lake: Lake | None, typed: Mapping[str, Any]) -> Iterator[str]:
    if step.extract not in extractors():
        yield f"{source.where(*place, 'extract')}: extractor {step.extract!r} is unknown; {nearest(step.extract, extractors())}"
        return
    queries = step.settings_from if isinstance(step, ExtractStep) else {}
    fields = extractor(step.extract).settings_type.model_fields
    for key in queries:
        if key not in fields:
            yield f"{source.where(*place, 'settings_from', key)}: setting {key!r} is unknown; {nearest(key, fields)}"
    asked = {key: value for key, value in step.settings.items() if key not in queries}
    yield from _refusal(source, (*place, "settings"), asked, lambda: resolve_step(step.model_copy(update={"settings": asked}), typed))
    if prompts := step.prompts:
        yield from _refusal(source, (*place, "prompts"), {}, lambda: load_prompt_set(prompts, lake))


def _training_problems(source: StudySource, place: Place, step: TrainStep | GridStep) -> Iterator[str]:
    wrong = list(_refusal(source, (*place, "axes"), step.axes, lambda: grid_cells(step.axes, {}))) if isinstance(step, GridStep) else []
    yield from wrong or _refusal(source, (*place, "settings"), step.settings, lambda: cells_of(step, step.parent))


def _refusal(source: StudySource, place: Place, given: Mapping[str, Any], resolve: Callable[[], object]) -> Iterator[str]:
    """What `resolve` refuses, with the line of the setting that it names."""
    try:
        resolve()
    except PersonascopeError as error:
        named = [(str(error).index(f"{key!r}"), key) for key in given if f"{key!r}" in str(error)]
        yield f"{source.where(*place, *([min(named)[1]] if named else []))}: {error}"


def _missing_tokens(source: StudySource, place: Place, step: str, names: Sequence[str], made: set[tuple[str, str]]) -> Iterator[str]:
    for name in names:
        if (step, name) not in made:
            there = ", ".join(sorted({made_by for made_by, of in made if of == name})) or "none before it"
            yield f"{source.where(*place)}: reads what step {step!r} made of {name}, and no step before it does that; expected a step over {name}: {there}"


def _query_problems(source: StudySource, study: StudyFile) -> Iterator[str]:
    """Queries that ask for views or columns which there are not: the headline, settings from queries, and the claims."""
    if study.headline:
        yield from _unbound(source.where("headline"), study.headline)
    for number, step in enumerate(study.steps):
        for key, query in (step.settings_from if isinstance(step, ExtractStep) else {}).items():
            yield from _unbound(source.where("steps", number, "settings_from", key), query)
    beside = claims_path(str(source.path))
    if beside != source.path:
        for claim in read_claims(beside):
            for query in [claim.query, *([claim.narrower.query] if claim.narrower else [])]:
                yield from _unbound(f"{beside}: claim {claim.id!r}", query)


def _unbound(where: str, query: str) -> Iterator[str]:
    try:
        query_columns(query, {"checkpoint": "", "seed": 0, "model": ""})
    except duckdb.Error as error:
        yield f"{where}: the query fails: {' '.join(str(error).split('LINE')[0].split())}"
