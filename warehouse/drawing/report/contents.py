"""Builds the report of a study from a lake: headline, figures, tables, samples, claims, audit, reproducibility card."""

import re
from collections.abc import Mapping, Sequence

import polars as pl

from personascope.warehouse.asking.audit import SEVERITIES, checks, collect, in_words
from personascope.warehouse.asking.child import WarehouseApart
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import Source, WarehouseSource
from personascope.warehouse.asking.views import lasting, views
from personascope.warehouse.claims.checking import Verdict, look
from personascope.warehouse.claims.reading import Claim
from personascope.warehouse.drawing import quantised, tones, verdicts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.figures import figure
from personascope.warehouse.drawing.headings import heading
from personascope.warehouse.drawing.headlines import HEADLINES, headline
from personascope.warehouse.drawing.report.card import card
from personascope.warehouse.drawing.report.choosing import RULE, Candidate, choose
from personascope.warehouse.drawing.report.document import Block, Cells, Code, Document, Others, Paragraph, Picture, Section, cell, table
from personascope.warehouse.drawing.report.markdown import MORE
from personascope.warehouse.drawing.report.samples import samples
from personascope.warehouse.drawing.report.scope import runs_of
from personascope.warehouse.drawing.words import count
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import nearest
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import Manifest
from personascope.warehouse.store.schema import tables
from personascope.warehouse.studies.model import StudyFile

HEADLINE_ROWS, VIEW_ROWS, FINDINGS = 60, 10, 100
RUN_COLUMNS = ("run_id", "instruct_run", "trained_run", "input_run", "instruct_run_a")  # by which the rows of a view belong to a study


def contents(lake: Lake, study: StudyFile, claims: Sequence[Claim], claimed_as: str, index: str | None = None) -> Document:
    """The document; `claimed_as` is the name under which `personascope check` records the study's claims, `index` where the lake's reports are listed.

    Raises PersonascopeError where the study names a figure, a view or a page of the audit that does not exist, or one of its queries fails.
    """
    source = WarehouseSource(Warehouse(lake, kept=lasting()))
    drawings = {name: quantised.told(source, figure(name).draw(source, study.name)) for name in study.figures}
    manifests = list(lake.manifests())
    known = {each.run_id: each for each in manifests}
    drawn = {run_id for found in drawings.values() for each in found for run_id in each.runs}
    runs = runs_of(study.name, drawn, manifests)
    tables = {name: _rows(source, name) for name in study.views}
    ours = {each.run_id for each in runs_of(study.name, drawn, manifests, past_analyses=False)}
    free = {each.run_id for each in manifests if each.study is None}
    kept = {name: _of(rows, ours, free) for name, rows in tables.items()}
    runs = runs_of(study.name, drawn | {run_id for rows in kept.values() for run_id in _runs(rows) if run_id in free}, manifests)
    sections = [
        Section("Headline", tuple(_headline(WarehouseSource(WarehouseApart(lake)), study))),
        *([Section("Figures", tuple(_figures(drawings, claims, known)))] if study.figures else []),
        *([Section("Generations", tuple(samples(source, runs)))] if study.samples else []),
        *([Section("Claims", tuple(_claims(lake, claimed_as, list(claims))))] if claims else []),
        *([Section("Audit", tuple(_audit(source, study.pages)))] if study.pages else []),
        Section("Tables", (Paragraph("First rows of each view of the study, rows of other studies left out where a view names runs; the query gives all."),)),
        *(_view(name, kept[name], tables[name].height) for name in study.views),
        *_card(source, study, runs),
    ]
    return Document(study.title, study.about, tuple(sections), _sentence(source, study), index)


def _sentence(source: Source, study: StudyFile) -> str:
    """The answer in one sentence; for a study of the reader's own, whose words are not known, the first row of its headline."""
    if (words := headline(source, study.name)) is not None:
        return words
    rows = source.select(study.headline) if study.headline and study.name not in HEADLINES else None
    if rows is None or rows.is_empty():
        return "This lake does not answer the study yet."
    said = ", ".join(f"{heading(name)} {cell(value)}" for name, value in rows.row(0, named=True).items() if value is not None)
    return f"{said}: the first of {count(rows.height, 'row')} of its headline."


def _headline(source: Source, study: StudyFile) -> list[Block]:
    if not study.headline:
        return [Paragraph("The study file names no headline.", missing=True)]
    try:
        rows = source.select(study.headline)
    except PersonascopeError as error:
        raise PersonascopeError(f"study {study.name}: headline: {error}") from error
    if rows.is_empty():
        return [Paragraph("Nothing in this lake answers the headline query yet. The study is run by:", missing=True), Code(_run_command(study))]
    blocks: list[Block] = [table(rows, HEADLINE_ROWS)]
    if rows.height > HEADLINE_ROWS:
        blocks.append(Paragraph(f"{HEADLINE_ROWS} of {rows.height:,} rows; all of them:"))
    return [*blocks, Code(_one_line(study.headline), "sql")]


def _run_command(study: StudyFile) -> str:
    return f"personascope run {study.name}" if study.steps else "personascope ingest published PATH"


def _figures(drawings: dict[str, list[Drawing]], claims: Sequence[Claim], runs: Mapping[str, Manifest]) -> list[Block]:
    """The chosen figures in the study file's order, what is missing, and which figures stand beside the report."""
    candidates = [Candidate(name, drawing, frozenset(figure(name).SHOWS), figure(name).SIZES) for name, found in drawings.items() for drawing in found]
    chosen = choose(candidates, claims, runs)
    pictures = [Picture(each.drawing, stem) for each, stem in zip(candidates, _stems([each.drawing.name for each in candidates]), strict=True)]
    blocks: list[Block] = [pictures[place] for place in chosen]
    for name, found in drawings.items():
        if not found:
            blocks.append(Paragraph(f"Figure {name.replace('_', ' ')} is missing. It needs {_plain(figure(name).NEEDS)}.", missing=True))
    others = tuple(picture for place, picture in enumerate(pictures) if place not in chosen)
    if others:
        blocks += [Paragraph(f"{count(len(others), 'more figure')} in the folder {MORE} beside this page. {RULE}"), Others(others)]
    return blocks


def _stems(names: Sequence[str]) -> list[str]:
    """File names, one a figure."""
    stems: list[str] = []
    for name in names:
        stem = _stem(name)
        stems.append(f"{stem}-{sum(each.startswith(stem) for each in stems) + 1}" if stem in stems else stem)
    return stems


def _stem(name: str) -> str:
    """A file name for a figure; names of checkpoints are others' words."""
    return re.sub(r"[^\w.-]+", "-", name.lower()).strip("-.")[:100] or "figure"


def _plain(words: str) -> str:
    return words.replace("`", "")


def _claims(lake: Lake, study: str, claims: list[Claim]) -> list[Block]:
    found, recorded, is_stale = look(lake, study, claims)
    when = "Checked for this report on the lake as it is, since these claims have no recorded check; personascope check records the verdicts."
    if recorded is not None:
        since = f"the lake has changed since: personascope check {study} checks them again" if is_stale else "the lake is unchanged since"
        when = f"As recorded by run {recorded.run_id}, {recorded.finished:%Y-%m-%d %H:%M} UTC, and shown by the page Claims; {since}."
    if found and all(each.verdict == "not derivable" for each in found):
        words = f"None of the {len(found)} claims of the study can be told from this lake: the data they speak of are not in it. {when}"
        return [Paragraph(words, missing=True), Code("personascope ingest published PATH")]
    order = list(tones.VERDICTS)
    rows = sorted(found, key=lambda each: order.index(each.verdict))
    columns = ("verdict", "statement", "measured", "expected", "found", "rows", "detail", "written", "where it stands", "claim")
    cells = tuple(
        (
            each.verdict,
            each.statement,
            each.measured,
            each.expected,
            each.found or "nothing",
            _rows_of(each),
            each.detail,
            _age_of(each),
            each.source,
            each.claim,
        )
        for each in rows
    )
    return [Paragraph(f"{verdicts.summary(found)}. {when}"), Cells(columns, cells), Code(f"personascope check {study}")]


def _age_of(verdict: Verdict) -> str:
    return "; ".join(part for part in (verdict.standing or "not registered", verdict.changed) if part)


def _rows_of(verdict: Verdict) -> str:
    return "" if verdict.n_rows is None else f"{verdict.n_rows:,}"


def _audit(source: Source, pages: Sequence[str]) -> list[Block]:
    known = {each.page for each in checks().values()}
    unknown = [page for page in pages if page not in known]
    if unknown:
        raise PersonascopeError(f"page {unknown[0]!r} of the study has no checks; expected some of {', '.join(sorted(known))}")
    found = [collect(source.select, page) for page in dict.fromkeys(pages)]
    rows = pl.concat(found)
    where = f"the checks of the app's {'pages' if len(found) > 1 else 'page'} {', '.join(page.replace('_', ' ') for page in dict.fromkeys(pages))}"
    if rows.is_empty():
        return [Paragraph(f"{where[0].upper()}{where[1:]} find nothing wrong in this lake.")]
    rows = rows.sort(pl.col("severity").cast(pl.Enum(list(SEVERITIES))), "check", "subject")
    left_out = f" The first {FINDINGS} stand here; personascope audit lists all." if rows.height > FINDINGS else ""
    return [
        Paragraph(f"{in_words(rows)}, by {where}, over everything in this lake. The query of each shows the rows behind it.{left_out}"),
        table(rows.select("severity", "check", "subject", "finding", "evidence"), FINDINGS),
    ]


def _rows(source: Source, name: str) -> pl.DataFrame:
    known = [*views(), *tables()]
    if name not in known:
        raise PersonascopeError(f"view {name!r} of the study is unknown; {nearest(name, known)}")
    return source.select(f"from {name}")


def _run_columns(rows: pl.DataFrame) -> list[str]:
    """The columns by which the rows of a view belong to a study: one of `RUN_COLUMNS`, else every one that names a run; none of a view that names no run."""
    column = next((column for column in RUN_COLUMNS if column in rows.columns), None)
    return [column for column in rows.columns if _is_run(column)] if column is None else [column]


def _runs(rows: pl.DataFrame) -> list[str]:
    """The runs by which the rows of a view belong to a study; empty for a view that names none."""
    return [run_id for column in _run_columns(rows) for run_id in rows[column].drop_nulls().to_list()]


def _of(rows: pl.DataFrame, ours: set[str], free: set[str]) -> pl.DataFrame:
    """The rows of the study's runs, or, where it has none, those of runs of no study; all of a view that names no run."""
    if not (columns := _run_columns(rows)):
        return rows
    mine, others = (rows.filter(pl.any_horizontal(pl.col(columns).is_in(list(runs)))) for runs in (ours, free))
    return others if mine.is_empty() else mine


def _view(name: str, rows: pl.DataFrame, total: int) -> Section:
    """The first rows of a view, of `total` in the lake."""
    view = views().get(name)
    meaning, grain = (view.meaning, view.grain) if view else (tables()[name].meaning, ", ".join(tables()[name].key))
    words = f"{meaning[0].upper()}{meaning[1:]}{'' if meaning.endswith('?') else '.'} One row per {grain}."
    query = Code(f'personascope sql "from {name}"')
    if rows.is_empty():
        there = f"; {total:,} of other runs" if total else ""
        return Section(name, (Paragraph(words), Paragraph(f"View {name} holds no rows of this study's runs{there}.", missing=True), query), 3)
    keys = [column for column in re.split(r"[,\s]+", grain) if column in rows.columns]
    order = [column for column in keys if not _is_run(column)] + [column for column in keys if _is_run(column)]
    shown = rows.sort(order, nulls_last=True, maintain_order=False) if order else rows
    others = f", {total - rows.height:,} of other runs left out" if total > rows.height else "" if _run_columns(rows) else " of everything in this lake"
    left = f"{min(VIEW_ROWS, rows.height)} of {count(rows.height, 'row')}{others}."
    columns = [column for column in shown.columns if not _is_run(column)] + [column for column in shown.columns if _is_run(column)]
    return Section(name, (Paragraph(f"{words} {left}"), table(shown.select(columns), VIEW_ROWS), query), 3)


def _is_run(column: str) -> bool:
    return column == "run_id" or column.endswith("_run")


def _card(source: Source, study: StudyFile, runs: Sequence[Manifest]) -> list[Section]:
    words = (
        "Read from the manifests of the runs behind this report (of the study, of its figures, and what these were made from); "
        "missing: no run recorded it. Where runs differ, every value stands with the number of runs that have it."
    )
    if not runs:
        return [
            Section(
                "Reproducibility",
                (Paragraph("No run of this study is in this lake.", missing=True), Paragraph("The study is run by:"), Code(_run_command(study))),
            )
        ]
    return [Section("Reproducibility", (Paragraph(words),)), *card(source, runs)]


def _one_line(query: str) -> str:
    return " ".join(query.split())
