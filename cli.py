"""The terminal door: assembles the commands each folder brings, and turns every error into one sentence."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from personascope.extract import commands as extract_commands
from personascope.extract.commands import (
    AttentionOption,
    BatchTokensOption,
    DeviceOption,
    DtypeOption,
    ExperimentOption,
    SegmentationOption,
    SettingsOption,
    TrackingUriOption,
    TrackOption,
)
from personascope.ingest import commands as ingest_commands
from personascope.warehouse import commands as warehouse_commands
from personascope.warehouse.commands import DEFAULT_LAKE, LakeOption, write_rows
from personascope.warehouse.errors import PersonascopeError

INTERRUPTED = 130  # the exit code typer gives ctrl-C

app = typer.Typer(
    name="personascope",
    help="An analysis warehouse for people who study how language models represent personas and roles.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(ingest_commands.app, name="ingest")
app.add_typer(extract_commands.app)
app.add_typer(warehouse_commands.app)


@app.callback()
def options(debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (also after the command).")] = False) -> None:
    """Options that come before a command; `main` reads --debug wherever it stands."""


@app.command()
def run(
    study: Annotated[str, typer.Argument(help="A study under mlflow/studies, or a .yaml file.")],
    quick: Annotated[bool, typer.Option("--quick", help="On tiny checkpoints, in a few minutes on two cores.")] = False,
    family: Annotated[list[str] | None, typer.Option(help="Only the checkpoints of this model family; repeatable.")] = None,
    checkpoint: Annotated[list[str] | None, typer.Option(help="NAME=ID or NAME=ID@REVISION instead of the study file's; repeatable.")] = None,
    settings: SettingsOption = None,
    segmentation: SegmentationOption = None,
    seed: Annotated[int | None, typer.Option(help="Seed of every draw (default: the study file's).")] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    attention: AttentionOption = "sdpa",
    batch_tokens: BatchTokensOption = 8192,
    jobs: Annotated[int | None, typer.Option(help="Processes for the cells of a grid (default: one per GPU, or per core).", min=1)] = None,
    force: Annotated[bool, typer.Option("--force", help="Redo runs that are in the lake already.")] = False,
    track: TrackOption = True,
    experiment: ExperimentOption = None,
    tracking_uri: TrackingUriOption = None,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Run a study: its checkpoints, extractors and analyses in order, then print its headline, and write its report where the study file asks for it."""
    from personascope.extract.registry import parse_assignments
    from personascope.study.run import RunOptions, StudyRun, parse_checkpoints
    from personascope.warehouse.study_file import read_study

    found = read_study(study, quick).of_families(family or [])
    execution = StudyRun(
        found,
        lake,
        RunOptions(
            checkpoints=parse_checkpoints(checkpoint or [], found),
            settings=parse_assignments(settings or []) | ({"segmentation": segmentation} if segmentation is not None else {}),
            device=device,
            dtype=dtype,
            attention=attention,
            seed=seed,
            batch_tokens=batch_tokens,
            jobs=jobs,
            track=track,
            tracking_uri=tracking_uri,
            experiment=experiment,
            force=force,
        ),
    )
    execution.run()
    _show_headline(found.headline, lake)
    if found.report:
        warehouse_commands.report(study, lake, None)
    steps = (
        f"personascope app --lake {lake}            # browser",
        f"personascope sql 'from {found.views[0]}' --lake {lake}",
        f"personascope report {study} --lake {lake}",
        f"duckdb -readonly {lake / 'warehouse.duckdb'}    # any DuckDB shell from 1.5 on",
    )
    typer.echo("\n".join([f"\nThe lake is {lake}. Next:", *(f"  {step}" for step in steps)]), err=True)
    if execution.failures:
        raise PersonascopeError(
            f"{len(execution.failures)} cells of the grid gave no rates: {execution.failures[0]}; `personascope sql 'from training_failures'` lists them, "
            "and the same command tries again those that did not diverge (with --force all of them)"
        )


@app.command()
def demo(lake: LakeOption = DEFAULT_LAKE) -> None:
    """Make tiny checkpoints, run the marker-attention study on them and print its headline: the whole path in a few minutes."""
    run("marker-attention", quick=True, lake=lake)


@app.command("app")
def open_app(
    lake: LakeOption = DEFAULT_LAKE,
    port: Annotated[int, typer.Option(help="Port of the local server.")] = 8501,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
) -> None:
    """Open the app in the browser."""
    import subprocess

    from personascope.warehouse.store.lake import Lake

    found = Lake.existing(lake)
    environment = os.environ | {"PERSONASCOPE_LAKE": str(found.root)}
    script = Path(__file__).resolve().parent / "app.py"
    command = [sys.executable, "-m", "streamlit", "run", str(script), f"--server.port={port}", f"--server.address={host}"]
    typer.echo(f"personascope on http://{host}:{port} (lake {found.root}); ctrl-C stops it", err=True)
    raise typer.Exit(subprocess.call(command, env=environment, cwd=script.parent))


def _show_headline(query: str, lake: Path) -> None:
    from personascope.warehouse.asking.query import Warehouse
    from personascope.warehouse.store.lake import Lake

    write_rows(Warehouse(Lake.existing(lake)).select(query), "table" if sys.stdout.isatty() else "csv")


def main() -> None:
    """Entry point of `personascope`."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # bars of transformers and the Hub; ours become lines
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        app(args=arguments, prog_name="personascope")
    except PersonascopeError as error:
        if debug:
            raise
        print(f"personascope: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            print("personascope: stopped; committed runs are intact, and the same command resumes this one", file=sys.stderr)
        raise
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
