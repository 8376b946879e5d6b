"""Commands that run and describe studies: run, demo, studies list, show and schema."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from personascope.extract.commands import (
    AttentionOption,
    BatchTokensOption,
    DateOption,
    DeviceOption,
    DtypeOption,
    ExperimentOption,
    SegmentationOption,
    SettingsOption,
    ShardOption,
    TrackingUriOption,
    TrackOption,
    WorkersOption,
)
from personascope.warehouse import commands as warehouse_commands
from personascope.warehouse.commands import DEFAULT_LAKE, LakeOption, write_file, write_rows
from personascope.warehouse.errors import PersonascopeError, pasted
from personascope.warehouse.settings import LARGEST_SEED

if TYPE_CHECKING:
    from personascope.study.state import StudyState
    from personascope.warehouse.studies.model import Variant

app = typer.Typer()
studies_app = typer.Typer(no_args_is_help=True, help="List and describe the studies that ship, and the form of a study file.")
app.add_typer(studies_app, name="studies")

StudyArgument = Annotated[str, typer.Argument(help="A study under mlflow/studies, or a .yaml file.")]
QuickOption = Annotated[bool, typer.Option("--quick", help="On tiny checkpoints, in a few minutes on two cores.")]
SmallOption = Annotated[bool, typer.Option("--small", help="On real models of 135M to 600M parameters from the Hub, in a quarter of an hour on two cores.")]


@app.command()
def run(
    study: StudyArgument,
    quick: QuickOption = False,
    small: SmallOption = False,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done, and whether it can work; load, download and write nothing.")] = False,
    family: Annotated[list[str] | None, typer.Option(help="Only the checkpoints of this model family; repeatable.")] = None,
    checkpoint: Annotated[list[str] | None, typer.Option(help="NAME=ID, NAME=ID@REVISION or 'NAME=ID as NEWNAME' in place of the study's; repeatable.")] = None,
    base: Annotated[
        list[str] | None, typer.Option(help="NAME=ID, the base model of the adapter NAME where its record is of another machine; repeatable.")
    ] = None,
    settings: SettingsOption = None,
    segmentation: SegmentationOption = None,
    date: DateOption = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw (default: the study file's).", min=0, max=LARGEST_SEED)] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    attention: AttentionOption = "sdpa",
    shard_model: ShardOption = None,
    batch_tokens: BatchTokensOption = 8192,
    workers: WorkersOption = None,
    force: Annotated[bool, typer.Option("--force", help="Redo runs that are in the lake already.")] = False,
    track: TrackOption = True,
    experiment: ExperimentOption = None,
    tracking_uri: TrackingUriOption = None,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Run a study: its checkpoints, extractors and analyses in order, then print its headline, and write its report where the study file asks for it."""
    from personascope.extract.registry import parse_assignments
    from personascope.extract.texts.templates import given_date
    from personascope.extract.weights.sharding import parse_sharding
    from personascope.study.checking import check_study
    from personascope.study.options import RunOptions, parse_checkpoints
    from personascope.study.run import StudyRun
    from personascope.study.state import StudyState
    from personascope.warehouse.claims.reading import read_claims
    from personascope.warehouse.claims.registration import register
    from personascope.warehouse.store.lake import Lake
    from personascope.warehouse.studies.reading import claims_path, read_source, study_path

    typed = parse_assignments(settings or []) | ({"segmentation": segmentation} if segmentation is not None else {})
    there = Lake.existing(lake) if (lake / "runs").is_dir() else None
    found = check_study(read_source(study, _variant(quick, small)), there, typed).of_families(family or [])
    options = RunOptions(
        checkpoints=parse_checkpoints(checkpoint or [], found, base),
        settings=typed,
        device=device,
        dtype=dtype,
        attention=attention,
        sharding=parse_sharding(shard_model),
        date=given_date(date, "command line") if date else None,
        seed=seed,
        batch_tokens=batch_tokens,
        workers=workers,
        track=track,
        tracking_uri=tracking_uri,
        experiment=experiment,
        force=force,
    )
    if plan:
        _plan(StudyState(found, lake.absolute(), options))
        return
    execution = StudyRun(found, lake, options)
    register(Lake.open(lake), found.name, found.model_dump(mode="json"), read_claims(claims_path(study)), study_path(study).stem)
    execution.run()
    _show_headline(found.headline, lake)
    if found.report:
        warehouse_commands.report(study, lake, None)
    steps = (
        f"personascope app --lake {pasted(lake)}            # browser",
        f"personascope sql 'from {found.views[0]}' --lake {pasted(lake)}",
        f"personascope report {pasted(study)} --lake {pasted(lake)}",
        f"duckdb -readonly {pasted(lake / 'warehouse.duckdb')}    # any DuckDB shell from 1.5 on",
    )
    typer.echo("\n".join([f"\nThe lake is {lake}. Next:", *(f"  {step}" for step in steps)]), err=True)
    if execution.unread:
        raise PersonascopeError(f"{len(execution.unread)} readings found nothing to read, and all else is in the lake: {execution.unread[0]}")
    if execution.failures:
        raise PersonascopeError(
            f"{len(execution.failures)} cells of the grid gave no rates: {execution.failures[0]}; `personascope sql 'from training_failures'` lists them, "
            "and the same command tries again those that did not diverge (with --force all of them)"
        )


@app.command()
def demo(lake: LakeOption = DEFAULT_LAKE) -> None:
    """Make tiny checkpoints, run the marker-attention study on them and print its headline: the whole path in a few minutes."""
    run("marker-attention", quick=True, lake=lake)
    typer.echo(
        "  personascope run marker-attention --small --lake lake-small    # the same on a real model of 135M parameters from the Hub, in a quarter of an hour\n"
        "  personascope run marker-attention --small --checkpoint base=FILE.gguf --lake lake-small    # or on a file of yours, without the Hub",
        err=True,
    )


@studies_app.command("list")
def list_studies() -> None:
    """List the studies that ship: what each asks, its steps and claims."""
    from personascope.warehouse.claims.reading import read_claims
    from personascope.warehouse.studies.reading import claims_path, read_study, study_names

    listing = Table(title="studies", title_justify="left")
    for column in ("name", "question", "checkpoints", "steps/\nquick/\nsmall", "claims"):
        listing.add_column(column, overflow="fold", no_wrap=column in ("name", "checkpoints"))
    for name in study_names():
        full, quick, small = read_study(name), read_study(name, "quick"), read_study(name, "small")
        claims = len(read_claims(claims_path(name)))
        steps = f"{len(full.steps)}/{len(quick.steps)}/{len(small.steps)}"
        listing.add_row(name, full.title, "\n".join(full.checkpoints), steps, str(claims))
    Console().print(listing)


@studies_app.command("show")
def show_study(study: StudyArgument, quick: QuickOption = False, small: SmallOption = False) -> None:
    """Describe a study: steps with every setting and where it comes from, views with their meaning, figures and claims."""
    from personascope.study.checking import check_study
    from personascope.study.plan_text import show_steps
    from personascope.warehouse.asking.views import views
    from personascope.warehouse.claims.reading import read_claims
    from personascope.warehouse.studies.reading import claims_path, read_source

    source = read_source(study, _variant(quick, small))
    found, console = check_study(source), Console()
    console.print(f"[bold]{escape(found.name)}[/]: {escape(found.title)}\n{escape(found.about.strip())}\n{escape(str(source.path))}", highlight=False)
    for name, each in found.checkpoints.items():
        where = "/".join(filter(None, (each.id, each.subfolder)))
        console.print(f"checkpoint {name}: {where}{f' at {each.revision}' if each.revision else ''}", highlight=False, markup=False, soft_wrap=True)
    show_steps(found, console)
    console.print("\n[bold]views[/]", highlight=False)
    for name in found.views:
        console.print(f"{name}: {views()[name].meaning if name in views() else 'table'}", highlight=False, markup=False, soft_wrap=True)
    if found.figures:
        console.print(f"\n[bold]figures[/] {', '.join(found.figures)}", highlight=False)
    beside = claims_path(study)
    if claims := read_claims(beside):
        console.print(f"\n{len(claims)} claims in {beside}; `personascope check {study}` judges them", highlight=False, markup=False, soft_wrap=True)


@studies_app.command("schema")
def print_schema(output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write instead of stdout.")] = None) -> None:
    """Print the JSON Schema of a study file, by which editors complete and check what is typed."""
    from personascope.study.schema import study_schema

    text = json.dumps(study_schema(), indent=1) + "\n"
    if output is None:
        sys.stdout.write(text)
        return
    write_file(output, text.encode())
    typer.echo(f"the schema is in {output}; first line of a study file: # yaml-language-server: $schema={output}", err=True)


def _variant(quick: bool, small: bool) -> "Variant":
    if quick and small:
        raise PersonascopeError("--quick and --small are two variants of a study; expected one of them")
    return "quick" if quick else "small" if small else "full"


def _plan(state: "StudyState") -> None:
    """Prints the plan of a study; exits with 1 where something in it cannot work."""
    from personascope.study.plan import plan_study
    from personascope.study.plan_text import show_plan

    found = plan_study(state)
    show_plan(found, Console())
    if found.problems:
        raise PersonascopeError(f"{len(found.problems)} runs of study {state.study.name} cannot work; the first: {found.problems[0]}")


def _show_headline(query: str, lake: Path) -> None:
    from personascope.warehouse.asking.query import Warehouse
    from personascope.warehouse.store.lake import Lake

    write_rows(Warehouse(Lake.existing(lake)).select(query), "table" if sys.stdout.isatty() else "csv")
