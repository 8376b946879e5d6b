"""The terminal door: assembles the commands each folder brings, and turns every error into one sentence."""

import gc
import os
import sys
from itertools import pairwise
from typing import Annotated

import typer

from personascope import __version__
from personascope.app_pages.serving.start import ALLOWED, LOOPBACK, TOKEN, serve
from personascope.extract import commands as extract_commands
from personascope.ingest import commands as ingest_commands
from personascope.study import commands as study_commands
from personascope.warehouse import analysis_commands, compact_commands, lake_commands, transfer_commands  # noqa: F401 - two of them add to `runs`
from personascope.warehouse import commands as warehouse_commands
from personascope.warehouse.commands import DEFAULT_LAKE, LakeOption
from personascope.warehouse.errors import PersonascopeError, sentence
from personascope.warehouse.signals import end_in_order, exit_code, is_interruption
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.staging import is_disk_full

INTERRUPTED = 130  # the exit code typer gives a KeyboardInterrupt
SPINS = "2000"  # rounds that a waiting thread of libgomp spins

app = typer.Typer(
    name="personascope",
    help="An analysis warehouse for people who study how language models represent personas and roles.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
ingest_commands.app.add_typer(extract_commands.ingest_app)
app.add_typer(ingest_commands.app, name="ingest")
app.add_typer(study_commands.app)
app.add_typer(extract_commands.app)
app.add_typer(warehouse_commands.app)
app.add_typer(analysis_commands.app)
app.add_typer(lake_commands.app)
warehouse_commands.more_examinations.append(ingest_commands.examine_tracking)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"personascope {__version__}")
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error (also after the command).")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Options that come before a command; `main` reads --debug wherever it stands."""


@app.command("app")
def open_app(
    lake: LakeOption = DEFAULT_LAKE,
    port: Annotated[int, typer.Option(help="Port of the local server.", min=1, max=65535)] = 8501,
    host: Annotated[str, typer.Option(help="Address to listen on: this machine alone unless another is typed.")] = LOOPBACK,
    token: Annotated[bool, typer.Option("--token", help=f"Answer only whoever has a token: one is made up, or taken from {TOKEN}.")] = False,
    allow_host: Annotated[
        list[str] | None, typer.Option("--allow-host", envvar=ALLOWED, help="A further name under which browsers ask, as behind a proxy; repeatable.")
    ] = None,
) -> None:
    """Open the app in the browser."""
    serve(Lake.existing(lake).root, host, port, allow_host or [], token)


def main() -> None:
    """Entry point of `personascope`."""
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # bars of transformers and the Hub; ours become lines
    # A thread of torch that waits for another spins for some microseconds, since waking it takes longer than much of what a small model computes at once, and
    # sleeps then: spinning on, it would take the core from whoever else works on the machine. Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    end_in_order()
    debug = "--debug" in sys.argv
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    try:
        _expect_a_lake(arguments)
        app(args=arguments, prog_name="personascope")
    except PersonascopeError as error:
        if debug:
            raise
        print(f"personascope: {sentence(error)}", file=sys.stderr)
        sys.exit(error.exit_code)
    except SystemExit as leaving:
        if leaving.code == INTERRUPTED:
            _stop()
        _let_go_of_stdout(leaving.code)
        raise
    except RuntimeError as error:
        if debug or not is_interruption(error):
            raise
        _stop()
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        if debug:
            raise
        _refuse(error)
    finally:
        gc.freeze()  # a process that ends looks through all it holds several times, for seconds where models were read, to free what goes with it anyway


def _expect_a_lake(arguments: list[str]) -> None:
    """Refuses an empty --lake, which a shell makes of an unset variable and which would be read as the present folder."""
    if "--lake=" in arguments or any(pair == ("--lake", "") for pair in pairwise(arguments)):
        raise PersonascopeError("--lake: a path is empty; expected the folder of a lake (is a variable unset?)")


def _let_go_of_stdout(code: object) -> None:
    """Writes what is left to write: a place that takes no more makes a failure of what came out well."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_stdout()
    except OSError as error:
        if not code:
            _refuse(error)
        _drop_stdout()


def _refuse(error: OSError) -> None:
    """What the system refused as one sentence, on behalf of whatever does not say it better."""
    reason = "the disk is full" if is_disk_full(error) else error.strerror or str(error)
    print(f"personascope: {error.filename or 'stdout'}: {reason}; committed runs are intact (--debug shows where)", file=sys.stderr)
    _drop_stdout()
    sys.exit(PersonascopeError.exit_code)


def _drop_stdout() -> None:
    """What could not be written is not tried again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _stop() -> None:
    print("personascope: stopped; committed runs are intact, and the same command resumes this one", file=sys.stderr)
    sys.exit(exit_code())


if __name__ == "__main__":
    main()
