"""The command that computes statistics which SQL cannot: what the runs of a lake lack, and what is older than the runs it was computed from."""

import sys
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from personascope.warehouse.analyses import analyses, refresh
from personascope.warehouse.asking import catalogue
from personascope.warehouse.commands import DEFAULT_LAKE, LakeOption
from personascope.warehouse.errors import pasted
from personascope.warehouse.store.lake import Lake

app = typer.Typer()


def _beginning_with(typed: str) -> list[str]:
    return [name for name in analyses() if name.startswith(typed)]


@app.command("analyse")
def analyse(
    names: Annotated[list[str] | None, typer.Argument(help="Analyses by name (default: all).", metavar="[NAME]...", autocompletion=_beginning_with)] = None,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Compute the statistics that SQL cannot (bootstraps, sign flips) for runs that lack them or were redone since; stdout is the new runs."""
    found = Lake.existing(lake)
    in_turn = partial(track, description="analyses", console=Console(stderr=True), transient=True)
    written = refresh(found, names, in_turn)
    if written:
        catalogue.build(found)
    for run_id in written:
        print(run_id)
    told = f"{len(written)} computed" if written else "nothing to compute: every run that can be analysed has been, as it is now"
    print(f'{told}; next: personascope sql "from analyses" --lake {pasted(lake)}', file=sys.stderr)
