"""Commands that carry runs between lakes: runs export, runs import."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from personascope.warehouse.asking import catalogue
from personascope.warehouse.commands import DEFAULT_LAKE, LakeOption, runs_app
from personascope.warehouse.errors import PersonascopeError, pasted
from personascope.warehouse.store import transfer
from personascope.warehouse.store.lake import Lake


@runs_app.command("export")
def export_runs(
    runs: Annotated[list[str] | None, typer.Argument(help="Runs, or the beginnings of their names.")] = None,
    file: Annotated[Path | None, typer.Argument(help="File to write; its name ends in .tar.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All committed runs.")] = False,
    alone: Annotated[bool, typer.Option("--alone", help="Leave out what the runs were made of: their input runs, trainings and prompt sets.")] = False,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Write runs, and those they were made of, into one tar file that `runs import` brings into another lake."""
    if file is None or file.suffix != ".tar":
        raise PersonascopeError(f"{file or 'no file'}: expected the file to write last, with a name that ends in .tar: personascope runs export RUN… FILE.tar")
    if bool(runs) == every:
        raise PersonascopeError("expected the runs to write, or --all, and not both: personascope runs export RUN… FILE.tar")
    found = Lake.existing(lake)
    named = found.run_ids() if every else [found.find_committed(run) for run in runs or []]
    if not named:
        raise PersonascopeError(f"lake {found.root}: holds no runs; expected at least one to write")
    chosen = list(dict.fromkeys(named)) if alone else transfer.with_inputs(found, named)
    n_bytes = transfer.export(found, sorted(chosen) if alone else chosen, file)
    more = f", {len(chosen) - len(set(named))} of them as what the others were made of" if len(chosen) > len(set(named)) else ""
    print(f"{len(chosen)} runs in {file} ({n_bytes:,} bytes){more}; next: personascope runs import {pasted(file)} --lake OTHER", file=sys.stderr)


@runs_app.command("import")
def import_runs(
    files: Annotated[list[Path], typer.Argument(help="Files that `runs export` wrote.")],
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Bring runs of another lake into this one, with every file's hash checked; what is there already adds nothing."""
    found = Lake.open(lake)
    new, known = 0, 0
    for file in files:
        imported = transfer.import_runs(found, file)
        new, known = new + len(imported.new), known + len(imported.known)
        print(f"{file}: {_said(imported)}", file=sys.stderr)
    catalogue.build(found)
    in_all = "nothing new" if not new else f"{new} runs are new, {known} were there"
    print(f"{in_all} in {found.root}; next: personascope runs list --lake {pasted(lake)}", file=sys.stderr)


def _said(imported: transfer.Imported) -> str:
    if not imported.new:
        return f"nothing new, all {len(imported.known)} runs were there"
    return f"{len(imported.new)} runs are new" + (f", {len(imported.known)} were there" if imported.known else "")
