"""Command that writes the rows of many runs once more into few files: runs compact."""

import sys
from collections.abc import Mapping
from functools import partial
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from personascope.warehouse.asking import catalogue
from personascope.warehouse.commands import DEFAULT_LAKE, LakeOption, runs_app
from personascope.warehouse.drawing.words import count
from personascope.warehouse.errors import PersonascopeError, pasted
from personascope.warehouse.settings import nearest
from personascope.warehouse.store import compaction
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import Manifest


@runs_app.command("compact")
def compact_runs(
    runs: Annotated[list[str] | None, typer.Argument(help="Runs, or the beginnings of their names; left out: those of every study.")] = None,
    study: Annotated[str | None, typer.Option("--study", help="Runs of this study.")] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Remove the compact files, of these runs or of this study, or all of them.")] = False,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Write the rows of finished studies once more, into one file a table, so that questions over many runs open few files."""
    if runs and study is not None:
        raise PersonascopeError("expected runs, or --study, and not both: personascope runs compact --study STUDY")
    found = Lake.open(lake)
    chosen: dict[str | None, list[str]] = {None: [found.find_committed(run) for run in runs or []]}
    if not runs:
        chosen = _of_studies(found.contents().runs, study, f"lake {found.root}")
    if undo:
        dropped = catalogue.uncompact(found, {run_id for run_ids in chosen.values() for run_id in run_ids})
        if not dropped:
            catalogue.build(found)
        print(f"{count(sum(len(each.runs) for each in dropped), 'run')} read from their own files again", file=sys.stderr)
        return
    for name, run_ids in chosen.items():
        of = f"of {name}" if name else "named" if runs else "of no study"
        made = compaction.compact(found, run_ids, name, partial(track, description=f"compacting runs {of}", console=Console(stderr=True)))
        print(f"{count(len(made.runs), 'run')} {of} in {count(len(made.tables), 'file')} ({made.bytes:,} bytes more)", file=sys.stderr)
    catalogue.build(found)
    print(f"the runs stay as they are; `personascope runs compact --undo --lake {pasted(lake)}` removes the compact files", file=sys.stderr)


def _of_studies(runs: Mapping[str, Manifest], study: str | None, where: str) -> dict[str | None, list[str]]:
    """Runs by study, those of no study last; raises PersonascopeError for a study there is none of, and where there is no run."""
    found: dict[str | None, list[str]] = {name: [] for name in sorted({run.study for run in runs.values() if run.study})}
    if study is not None and study not in found:
        raise PersonascopeError(f"{where}: holds no run of study {study!r}; {nearest(study, [name for name in found if name])}")
    for run_id, run in runs.items():
        found.setdefault(run.study, []).append(run_id)
    if not found:
        raise PersonascopeError(f"{where}: holds no runs; expected at least one to compact")
    return found if study is None else {study: found[study]}
