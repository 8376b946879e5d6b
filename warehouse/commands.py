"""Commands that ask the warehouse: sql, views, runs, audit, doctor, check, power, report."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table
from rich.text import Text

from personascope.warehouse.analyses.lacking import lacking
from personascope.warehouse.asking import audit as audits
from personascope.warehouse.asking import catalogue, named
from personascope.warehouse.asking.doctor import Examination, examine
from personascope.warehouse.asking.guard import GIB, Limits
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.asking.views import lasting, views
from personascope.warehouse.claims.checking import Verdict
from personascope.warehouse.claims.checking import check as check_claims
from personascope.warehouse.claims.reading import read_claims
from personascope.warehouse.drawing import cells, tones, verdicts
from personascope.warehouse.drawing.answer_files import Format, format_of, write_file, write_rows
from personascope.warehouse.errors import PersonascopeError, pasted, printable
from personascope.warehouse.home import STUDIES_FOLDER
from personascope.warehouse.planning import tables as plans
from personascope.warehouse.planning.plan import Typed, planned
from personascope.warehouse.planning.power import ALPHA, TARGET, Design
from personascope.warehouse.settings import nearest
from personascope.warehouse.store import notes
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import made_of
from personascope.warehouse.store.renewal import renew
from personascope.warehouse.store.schema import tables
from personascope.warehouse.studies.reading import claims_path, study_names, study_path

LakeOption = Annotated[Path, typer.Option("--lake", envvar="PERSONASCOPE_LAKE", help="Folder of committed runs.")]
DEFAULT_LAKE = Path("lake")
AuditFormat = Literal["auto", "table", "csv", "json", "markdown"]

more_examinations: list[Examination] = []  # what the wings that this one does not know look at when `doctor` is typed

app = typer.Typer()
runs_app = typer.Typer(no_args_is_help=True, help="List, show, tag, note, renew, compact and delete committed runs.")
app.add_typer(runs_app, name="runs")


@app.command()
def sql(
    query: Annotated[str | None, typer.Argument(help="One SELECT statement, or @NAME of a named query; read from stdin when left out.")] = None,
    lake: LakeOption = DEFAULT_LAKE,
    format: Annotated[Format, typer.Option("--format", "-f", help="auto: a table in a terminal, csv elsewhere.")] = "auto",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead of stdout.")] = None,
    safe: Annotated[bool, typer.Option("--safe", help="CSV for spreadsheets: cells that begin like a formula get an apostrophe.")] = False,
    time_limit: Annotated[float, typer.Option(help="Seconds the query may take.", min=0.01)] = Limits.seconds,
    memory: Annotated[float | None, typer.Option(help="GiB the query may take (default: a quarter of the machine, at most 2).", min=0.1, max=2**20)] = None,
    listing: Annotated[bool, typer.Option("--list", help="List the named queries: those saved into the lake, and the examples that ship.")] = False,
) -> None:
    """Ask the warehouse in SQL; stdout is data, stderr is talk."""
    found = Lake.existing(lake)
    if listing:
        rows = _named_queries(found)
    else:
        text = query if query is not None else _typed()
        if text.lstrip().startswith(named.SIGN):
            text = named.find(found, text.strip()).sql
        limits = Limits(time_limit, round((memory or 0) * GIB), last_resort=_end)
        rows = Warehouse(found, limits).select(text)
    if format == "auto":
        format = "table" if sys.stdout.isatty() and output is None else format_of(output)
    if safe and format != "csv":
        raise PersonascopeError(f"--safe is for CSV, which spreadsheets open; found the format {format}")
    write_rows(rows, format, output, safe)
    if not listing and rows.is_empty() and (names := lacking(found, text)):
        print(f"no rows; not computed yet: {', '.join(names)}; next: personascope analyse {' '.join(names)} --lake {pasted(lake)}", file=sys.stderr)


def _named_queries(lake: Lake) -> pl.DataFrame:
    """Every named query with where it comes from and what it answers."""
    known = sorted(named.named(lake).values(), key=lambda each: (each.is_shipped, each.name))
    found = [(f"{named.SIGN}{each.name}", "example" if each.is_shipped else "lake", " ".join(each.description.split())) for each in known]
    return pl.DataFrame(found, schema=["name", "from", "answers"], orient="row")


def _typed() -> str:
    """What comes in on stdin; raises PersonascopeError where it is not text."""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise PersonascopeError(f"the query is not UTF-8 text (byte {error.start} is 0x{error.object[error.start]:02x}); expected UTF-8") from error


def _end(sentence: str) -> None:
    """Ends the command although DuckDB is inside a function that does not listen: the query is all this process does."""
    print(f"personascope: {sentence}", file=sys.stderr, flush=True)
    os._exit(PersonascopeError.exit_code)


@app.command("views")
def list_views(
    name: Annotated[str | None, typer.Argument(help="A table or view to describe with its columns and its SQL.")] = None,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """List tables and views, or describe one of them."""
    console = Console()
    if name is None:
        listing = Table(title="tables and views", title_justify="left")
        for column in ("name", "grain", "meaning"):
            listing.add_column(column, overflow="fold")
        for each in tables().values():
            listing.add_row(each.name, ", ".join(each.key), each.meaning)
        listing.add_section()
        for _, view in sorted(views().items()):
            listing.add_row(view.name, view.grain, view.meaning)
        console.print(listing)
        return
    if name not in tables() and name not in views():
        raise PersonascopeError(f"view {name!r} is unknown; {nearest(name, [*tables(), *views()])}")
    columns = Warehouse(Lake.existing(lake)).columns(name)
    described = views().get(name)
    about = described.meaning if described else tables()[name].meaning
    console.print(f"[bold]{name}[/]: {about}", highlight=False)
    console.print(f"grain: {described.grain if described else ', '.join(tables()[name].key)}", highlight=False)
    if described:
        console.print(f"source: {described.source}", highlight=False)
    listing = Table()
    for header in ("column", "type", "meaning"):
        listing.add_column(header, overflow="fold")
    for column, kind in columns:
        listing.add_row(column, kind, described.doc(column) if described else tables()[name].docs[column])
    console.print(listing)
    console.print((described.sql if described else tables()[name].sql).strip(), highlight=False, markup=False)


@runs_app.command("list")
def list_runs(
    lake: LakeOption = DEFAULT_LAKE,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Runs that bear this tag; of several, each of them.")] = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="auto: a table in a terminal, csv elsewhere.")] = "auto",
) -> None:
    """List committed runs with their tags and notes, newest first."""
    wanted = notes.checked_tags(tag or ())
    query = f"""select run_id, kind, study, checkpoint, subject, n_rows, round(seconds, 1) as seconds, finished, array_to_string(tags, ', ') as tags, note
      from runs left join run_notes using (run_id)
      where coalesce(list_has_all(tags, {wanted}::varchar[]), {not wanted}) order by finished desc, run_id"""
    sql(query, lake, format)


@runs_app.command("tag")
def tag_runs(
    runs: Annotated[list[str], typer.Argument(help="Runs, or the beginnings of their names.")],
    tag: Annotated[list[str] | None, typer.Option("--tag", "-t", help="Tag to add; may be given several times.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="Tag to take away; may be given several times.")] = None,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Add tags to runs and take them away. Tags are kept beside the runs: what a run is, and its name, stay as they are."""
    if not tag and not remove:
        raise PersonascopeError("expected a tag to add or to take away: personascope runs tag RUN… --tag WORD")
    found = Lake.open(lake)
    for run_id in [found.find_committed(run) for run in runs]:
        tags = notes.write(found, run_id, add=tag or (), remove=remove or ()).tags
        print(f"{run_id}: {', '.join(tags) or 'no tags'}", file=sys.stderr)
    catalogue.build(found)


@runs_app.command("note")
def note_run(
    run: Annotated[str, typer.Argument(help="A run, or the beginning of its name.")],
    text: Annotated[str | None, typer.Argument(help="What is to be known of it, in place of an earlier note; '' removes it; left out: it is shown.")] = None,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Write a note about a run, or show it. It is kept beside the run in this lake; `runs export` takes it along, `lake push` does not."""
    found = Lake.existing(lake)
    run_id = found.find_committed(run)
    if text is None:
        print(notes.of_run(found, run_id).note)
        return
    notes.write(found, run_id, note=text)
    catalogue.build(found)
    print(f"{run_id}: {'noted' if text.strip() else 'no note'}", file=sys.stderr)


@runs_app.command("show")
def show_run(run_id: Annotated[str, typer.Argument(help="A run, or the beginning of its name.")], lake: LakeOption = DEFAULT_LAKE) -> None:
    """Print the manifest of a run; its tags and note go to stderr."""
    found = Lake.existing(lake)
    full = found.find_committed(run_id)
    print(found.manifest(full).model_dump_json(indent=2))
    said = notes.of_run(found, full)
    if said != notes.Notes():
        print(f"tags: {', '.join(said.tags) or 'none'}\nnote: {said.note or 'none'}", file=sys.stderr)


@runs_app.command("delete")
def delete_run(
    run_id: Annotated[str, typer.Argument(help="A run, or the beginning of its name.")],
    lake: LakeOption = DEFAULT_LAKE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Remove a committed run from the lake, with its tags and its note."""
    found = Lake.existing(lake)
    full = found.find_run(run_id)
    if made := made_of(found.manifests(), full):
        print(f"{full} is an input of {made}: what stands in it alone, texts and prompts say, will be missing", file=sys.stderr)
    if not yes:
        typer.confirm(f"Delete {full} from {found.root}?", abort=True, err=True)
    gone = catalogue.uncompact(found, [full])
    found.delete(full)
    notes.drop(found, full)
    print(f"deleted {full}", file=sys.stderr)
    catalogue.build(found)
    for each in gone:
        of = f"--study {each.study}" if each.study else "RUN…"
        print(f"{len(each.runs) - 1} runs beside it are read from their own files again; `personascope runs compact {of}` compacts them", file=sys.stderr)


@runs_app.command("renew")
def renew_runs(lake: LakeOption = DEFAULT_LAKE) -> None:
    """Write the roll-ups that committed runs lack or hold by an older definition, so that questions need not make them up each time."""
    found = Lake.open(lake)
    renewed = [run_id for run_id in track(found.run_ids(), "renewing", console=Console(stderr=True)) if renew(found, run_id)]
    catalogue.build(found)
    print(f"renewed {len(renewed)} of {len(found.run_ids())} runs", file=sys.stderr)


@app.command()
def audit(
    lake: LakeOption = DEFAULT_LAKE,
    format: Annotated[
        AuditFormat, typer.Option("--format", "-f", help="auto: a table in a terminal, csv elsewhere; all but the table hold the queries.")
    ] = "auto",
    severity: Annotated[audits.Severity | None, typer.Option("--severity", "-s", help="Findings of this severity only.")] = None,
    subject: Annotated[str, typer.Option("--subject", help="Findings whose subject contains this, in capitals or not.")] = "",
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 when there is an error; without it findings never change the exit code.")] = False,
) -> None:
    """Look for mistakes in the results: one row per finding, with the query that shows the rows behind it."""
    in_turn = partial(track, description="checks", console=Console(stderr=True), transient=True)
    rows = audits.collect(Warehouse(Lake.existing(lake), kept=lasting()).select, severity=severity, in_turn=in_turn)
    rows = rows.filter(pl.col("subject").str.to_lowercase().str.contains(subject.lower(), literal=True))
    if format == "auto":
        format = "table" if sys.stdout.isatty() else "csv"
    if format == "table":
        _print_findings(rows, lake)
    else:
        write_rows(rows, format)
    if strict and "error" in rows["severity"]:
        raise typer.Exit(1)


def _print_findings(rows: pl.DataFrame, lake: Path) -> None:
    console = Console()
    for severity in audits.SEVERITIES:
        found = rows.filter(pl.col("severity") == severity)
        if found.is_empty():
            continue
        table = Table(title=f"{audits.in_words(found)}: {audits.SEVERITIES[severity]}", title_justify="left", show_lines=True)
        for column in ("check", "subject", "finding"):
            table.add_column(column, overflow="fold", ratio=3 if column == "finding" else 1)
        for row in found.select("check", "subject", "finding").iter_rows():
            table.add_row(*cells.as_texts(row))
        console.print(table)
    if rows.is_empty():
        console.print(f"nothing found in {lake} by {len(audits.checks())} checks", highlight=False, markup=False)
        return
    console.print(f"{audits.in_words(rows)}; `--format markdown` adds the query of each. The rows behind the first:", highlight=False, markup=False)
    console.print(f'personascope sql "{rows["evidence"][0]}" --lake {pasted(lake)}', highlight=False, markup=False, soft_wrap=True)


@app.command()
def doctor(lake: LakeOption = DEFAULT_LAKE, clear: Annotated[bool, typer.Option("--clear", help="Remove what interrupted runs staged.")] = False) -> None:
    """Look the lake over and name what is wrong; exits with 1 when something is."""
    found = Lake.existing(lake)
    if clear:
        for name in found.clear_staging():
            print(f"cleared {name}", file=sys.stderr)
    console = Console()
    errors = 0
    for finding in examine(found, more_examinations):
        errors += finding.level == "error"
        tail = f" → {finding.remedy}" if finding.remedy else ""
        level = (f"{finding.level:5}", tones.LEVELS[finding.level].terminal)
        console.print(Text.assemble(level, " ", printable(f"{finding.subject}: {finding.message}{tail}")), highlight=False, soft_wrap=True)
    if errors:
        raise PersonascopeError(f"{errors} thing{'s' if errors > 1 else ''} wrong in {found.root}; the lines above say which and what to type")


@app.command()
def check(
    study: Annotated[str | None, typer.Argument(metavar="STUDY/FILE", help="A study, or a .yaml file with claims (default: all studies that ship).")] = None,
    model: Annotated[str | None, typer.Option("--model", help="Ask the sentences of this checkpoint of the lake instead: replications.")] = None,
    lake: LakeOption = DEFAULT_LAKE,
    format: Annotated[verdicts.VerdictFormat, typer.Option("--format", "-f", help="auto: a table in a terminal, Markdown elsewhere.")] = "auto",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead of stdout.")] = None,
) -> None:
    """Check published sentences against the data and record the verdicts; exits with 1 when one is contradicted.

    With --model a sentence is asked of another model than it was published of: its verdicts are replications, kept apart, and contradict nobody.
    """
    found = Lake.existing(lake)
    if model is not None and study is None:
        raise PersonascopeError("--model: expected the study whose sentences are asked of it: personascope check STUDY --model NAME")
    claimed = {study_path(name).stem.removesuffix(".claims"): read_claims(claims_path(name)) for name in ([study] if study is not None else study_names())}
    if not any(claimed.values()):
        where = claims_path(study) if study is not None else STUDIES_FOLDER
        raise PersonascopeError(f"{where}: holds no claims; expected the key `claims` with a list of them")
    judged: list[Verdict] = []
    for name, each in claimed.items():
        if each:
            print(f"checking {len(each)} claims of {name}", file=sys.stderr)
            judged += check_claims(found, name, each, model)
    if format == "auto":
        format = "table" if sys.stdout.isatty() and output is None else "json" if output is not None and output.suffix == ".json" else "markdown"
    text = {"table": verdicts.as_table, "json": verdicts.as_json, "markdown": verdicts.as_markdown}[format](judged)
    if output is None:
        sys.stdout.write(text)
    else:
        write_file(output, text.encode())
    if found.is_writable:
        catalogue.build(found)
    contradicted = model is None and any(each.verdict == "contradicted" for each in judged)
    rest = "where verdict = 'contradicted'" if contradicted else "order by study, place"
    of = "replications" if model else "claims"
    print(f'{verdicts.summary(judged)}; next: personascope sql "from {of} {rest}" --lake {pasted(lake)}', file=sys.stderr)
    if contradicted:
        raise typer.Exit(1)


@app.command()
def report(
    study: Annotated[str, typer.Argument(help="A study under mlflow/studies, or a .yaml file.")],
    lake: LakeOption = DEFAULT_LAKE,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write (default: reports/STUDY in the lake); a report there is replaced.")
    ] = None,
) -> None:
    """Write a study's report into the lake: one HTML page that needs no network, Markdown with figures as PNG, SVG and PDF beside it."""
    from personascope.warehouse.drawing.report.folder import PAGE, TEXT, report_folder, write_report
    from personascope.warehouse.drawing.words import count

    found = Lake.existing(lake)
    folder = output or report_folder(found, study)
    written = write_report(found, study, folder)
    for words in written.missing():
        print(f"missing: {words}", file=sys.stderr)
    beside = f", {len(written.others())} more in more/" if written.others() else ""
    print(f"the report is in {folder}: {PAGE} (everything in one file), {TEXT} and {count(len(written.pictures()), 'figure')}{beside}")


@app.command()
def power(
    measure: Annotated[str, typer.Argument(help="rate: a marker rate; attention: trained minus base; head: what a head is worth, nats.")] = "rate",
    start: Annotated[float | None, typer.Option("--from", help="The rate it starts from, such as 0.05.")] = None,
    difference: Annotated[float, typer.Option("--difference", "-d", help="The difference to see: 0.05 is five points of a rate.")] = 0.05,
    questions: Annotated[int, typer.Option("--questions", "-q", help="Questions, the same under both conditions.")] = 20,
    samples: Annotated[int, typer.Option("--samples", "-s", help="Samples of each question under each condition.")] = 10,
    seeds: Annotated[int, typer.Option("--seeds", help="Training seeds; from three on the conclusion is about seeds.")] = 1,
    comparisons: Annotated[int, typer.Option("--comparisons", help="Personas, layers or heads that are looked at together (Bonferroni).")] = 1,
    icc: Annotated[float | None, typer.Option("--icc", help="Intraclass correlation of questions (default: the lake's, else 0.15).")] = None,
    shared: Annotated[float | None, typer.Option("--shared", help="Correlation of the two conditions' rates over questions (default: 0.85).")] = None,
    question_sd: Annotated[float | None, typer.Option("--question-sd", help="Standard deviation between questions of a mean.")] = None,
    sample_sd: Annotated[float | None, typer.Option("--sample-sd", help="Standard deviation within a question.")] = None,
    seed_sd: Annotated[float | None, typer.Option("--seed-sd", help="Standard deviation between training seeds.")] = None,
    target: Annotated[float, typer.Option("--target", help="Power that is wanted.")] = TARGET,
    alpha: Annotated[float, typer.Option("--alpha", help="Two-sided level over all comparisons.")] = ALPHA,
    lake: Annotated[Path | None, typer.Option("--lake", help="Take the variances from this lake.")] = None,
    checkpoint: Annotated[str | None, typer.Option("--checkpoint", help="Of this checkpoint of the lake only.")] = None,
    figure: Annotated[Path | None, typer.Option("--figure", help="Write the curve to this .svg, .png or .pdf file.")] = None,
    format: Annotated[Format, typer.Option("--format", "-f", help="auto: a table in a terminal, csv elsewhere.")] = "auto",
) -> None:
    """Say how many questions, samples and seeds a difference needs: a table on stdout, the answer and the sentence for a study file on stderr."""
    known = WarehouseSource(Warehouse(Lake.existing(lake))) if lake is not None else None
    typed = Typed(icc, shared, question_sd, sample_sd, seed_sd)
    effect, rests_on = planned(measure, start, difference, typed, known, checkpoint)
    design = Design(questions, samples, seeds, comparisons)
    rows = plans.grid(effect, design, alpha)
    write_rows(rows, ("table" if sys.stdout.isatty() else "csv") if format == "auto" else format)
    print("\n".join(plans.report(effect, design, rests_on, target, alpha)), file=sys.stderr)
    if figure is not None:
        _write_curve(rows, effect.words(), rests_on, figure)


def _write_curve(rows: pl.DataFrame, title: str, rests_on: str, file: Path) -> None:
    from personascope.warehouse.drawing.power_curve import curve  # the chart library takes a second to load

    kinds: dict[str, Literal["svg", "png", "pdf"]] = {".svg": "svg", ".png": "png", ".pdf": "pdf"}
    kind = kinds.get(file.suffix)
    if kind is None:
        raise PersonascopeError(f"--figure {file}: {file.suffix or 'no ending'} is no kind of picture; expected .svg, .png or .pdf")
    write_file(file, curve(rows, f"Power to see {title}", (rests_on,)).picture(kind))
    print(f"the curve is in {file}", file=sys.stderr)
