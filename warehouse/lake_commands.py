"""Commands of a lake that a team shares: lake push, lake pull, lake delete."""

import sys
from collections.abc import Iterable, Mapping
from typing import Annotated

import typer

from personascope.warehouse.asking import catalogue
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.buckets import pulling, pushing
from personascope.warehouse.buckets.bucket import DamagedError, Described
from personascope.warehouse.buckets.opening import KINDS, open_bucket
from personascope.warehouse.buckets.progress import moving
from personascope.warehouse.buckets.states import look
from personascope.warehouse.commands import DEFAULT_LAKE, LakeOption
from personascope.warehouse.drawing.words import count
from personascope.warehouse.errors import PersonascopeError, pasted, printable
from personascope.warehouse.settings import nearest
from personascope.warehouse.store import notes
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import Manifest
from personascope.warehouse.store.transfer import inputs_first

SHOWN = 5
BucketArgument = Annotated[str, typer.Argument(help=f"Where the team keeps its runs: {KINDS}.")]
StudyOption = Annotated[str | None, typer.Option("--study", help="Runs of this study, and what they were made of.")]
RunOption = Annotated[list[str] | None, typer.Option("--run", help="A run, or the beginning of its name, and what it was made of; repeatable.")]
FORCE_PUSH = "Replace what the bucket holds with other rows, bring back what was deleted from it, and send the runs of --run whole, whatever is there."
AloneOption = Annotated[bool, typer.Option("--alone", help="Leave out what the runs were made of: their input runs, trainings and prompt sets.")]

app = typer.Typer()
lake_app = typer.Typer(no_args_is_help=True, help="Share a lake through a bucket: push runs into it, pull runs from it, delete runs from it.")
app.add_typer(lake_app, name="lake")


@lake_app.command("push")
def push_runs(
    bucket: BucketArgument,
    study: StudyOption = None,
    run: RunOption = None,
    alone: AloneOption = False,
    force: Annotated[bool, typer.Option("--force", help=FORCE_PUSH)] = False,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Bring runs of the lake into a bucket, all of them unless some are named; what is there moves no byte."""
    found, place = Lake.existing(lake), open_bucket(bucket)
    runs = found.contents().runs
    if not runs:
        raise PersonascopeError(f"lake {found.root}: holds no runs; expected at least one to push")
    chosen = _chosen(runs, study, run, alone, f"lake {found.root}")
    again = {_find(runs, each, f"lake {found.root}") for each in run or []} if force else set()
    plan = pushing.plan_push(found, place, chosen, force, again)
    with moving("pushing", plan.bytes, len(plan.moves)) as (watch, said):
        done = pushing.push(found, place, plan, watch, said)
    if done and isinstance(place, Described):
        from personascope.warehouse.drawing.report.dataset_card import dataset_card  # the chart library takes a second to load

        place.describe(dataset_card(WarehouseSource(Warehouse(found)), list(look(place).runs.values()), place.address))
    _tell_left(plan.left)
    if place.notice:
        print(place.notice, file=sys.stderr)
    moved = f"{count(len(done), 'run')} pushed ({plan.bytes:,} bytes), {len(plan.known)} there before"
    what = moved if done else f"nothing new, {count(len(plan.known), 'run')} there"
    print(f"{what}: {place.address}; next: personascope lake pull {place.address} --lake OTHER", file=sys.stderr)


@lake_app.command("pull")
def pull_runs(
    bucket: BucketArgument,
    study: StudyOption = None,
    run: RunOption = None,
    alone: AloneOption = False,
    force: Annotated[bool, typer.Option("--force", help="Replace runs of the lake that the bucket holds with other rows.")] = False,
    delete: Annotated[bool, typer.Option("--delete", help="Delete here, too, what was deleted from the bucket.")] = False,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Bring runs of a bucket into the lake, all of them unless some are named, with every file's hash checked; what is here already is not moved."""
    place = open_bucket(bucket)
    there = look(place)
    if not there.states:
        raise PersonascopeError(f"{place.address}: holds no runs; expected a bucket that `personascope lake push {place.address}` filled")
    chosen = _chosen(there.runs, study, run, alone, place.address) if there.runs or study or run else []
    found = Lake.open(lake)
    plan = pulling.plan_pull(found, place, there, chosen, force)
    try:
        with moving("pulling", plan.bytes, len(plan.states)) as (watch, said):
            done = pulling.pull(found, place, plan, watch, said)
    except DamagedError:
        catalogue.build(found)
        raise
    if delete:
        catalogue.uncompact(found, plan.deleted)
    for run_id in plan.deleted if delete else []:
        found.delete(run_id)
        notes.drop(found, run_id)
        print(f"deleted {run_id}, as it was from the bucket", file=sys.stderr)
    catalogue.build(found)
    _tell_left({run_id: f"left out: {reason}" for run_id, reason in there.strays.items()} | plan.left)
    if plan.deleted and not delete:
        print(f"{_named(plan.deleted)} deleted from the bucket and still here; --delete deletes them here, too", file=sys.stderr)
    moved = f"{count(len(done), 'run')} pulled ({plan.bytes:,} bytes), {len(plan.known)} here before"
    what = moved if done else f"nothing new, {count(len(plan.known), 'run')} here"
    print(f"{what}: {found.root}; next: personascope runs list --lake {pasted(lake)}", file=sys.stderr)


@lake_app.command("delete")
def delete_runs(
    bucket: BucketArgument,
    runs: Annotated[list[str], typer.Argument(help="Runs, or the beginnings of their names.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete runs from a bucket for everybody; a lake that pulled them keeps them until `lake pull --delete`."""
    place = open_bucket(bucket)
    there = look(place)
    chosen = [_find(there.states, run, place.address) for run in runs]
    if not yes:
        typer.confirm(f"Delete {', '.join(chosen)} from {place.address} for everybody?", abort=True, err=True)
    done = pushing.delete(place, chosen)
    said = f"deleted {', '.join(done)}" if done else f"{', '.join(chosen)} had been deleted before; what was left of it is gone"
    print(f"{said}: {place.address}; next, in each lake: personascope lake pull {pasted(place.address)} --delete --lake LAKE", file=sys.stderr)


def _chosen(runs: Mapping[str, Manifest], study: str | None, named: list[str] | None, alone: bool, where: str) -> list[str]:
    """The runs that were asked for and, unless `alone`, what they were made of, inputs first; all where nothing was said."""
    wanted = list(runs)
    if study is not None:
        studies = sorted({each.study for each in runs.values() if each.study is not None})
        if study not in studies:
            raise PersonascopeError(f"{where}: holds no run of study {study!r}; {nearest(study, studies)}")
        wanted = [run_id for run_id, each in runs.items() if each.study == study]
    if named:
        of_names = [_find(runs, each, where) for each in named]
        wanted = of_names if study is None else [run_id for run_id in wanted if run_id in of_names]
    if not wanted and named:
        raise PersonascopeError(f"{where}: none of the runs named is of study {study!r}; expected one that is, or only one of --study and --run")
    return list(dict.fromkeys(wanted)) if alone else inputs_first(runs, wanted)


def _find(runs: Iterable[str], prefix: str, where: str) -> str:
    if not prefix.strip():
        raise PersonascopeError("a run's name is empty; expected a run, or the beginning of its name (is a variable unset?)")
    matches = [run_id for run_id in runs if run_id.startswith(prefix)]
    if len(matches) != 1:
        raise PersonascopeError(f"run {prefix!r}: expected exactly one run in {where} that starts so, found {', '.join(matches[:SHOWN]) or 'none'}")
    return matches[0]


def _tell_left(left: dict[str, str]) -> None:
    for run_id, reason in sorted(left.items()):
        print(printable(f"{run_id}: {reason}"), file=sys.stderr)


def _named(run_ids: list[str]) -> str:
    more = f" and {len(run_ids) - SHOWN} more" if len(run_ids) > SHOWN else ""
    return f"{', '.join(run_ids[:SHOWN])}{more} {'was' if len(run_ids) == 1 else 'were'}"
