"""Brings runs of a bucket into a lake, which is the mirror that is asked: staged and checked like an import, each run in place by one rename."""

import os
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from personascope.warehouse.buckets.bucket import Bucket, DamagedError, Watch
from personascope.warehouse.buckets.pushing import side_by_side
from personascope.warehouse.buckets.states import Look, State, Tombstone, table_keys
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.store.hashing import BLOCK, digest, file_hash
from personascope.warehouse.store.lake import PATIENCE, Lake
from personascope.warehouse.store.locks import await_lock
from personascope.warehouse.store.manifest import MANIFEST, Manifest
from personascope.warehouse.store.rollups import differing
from personascope.warehouse.store.soundness import why_unsound
from personascope.warehouse.store.staging import discard, disk_errors, publish, refuse_links, sync
from personascope.warehouse.store.writer import describe

PULLED = "pulled"
SHOWN = 5  # damaged runs that are named


@dataclass
class Plan:
    """What a pull will do: runs that come, those that are here with the same rows, those left as they are and why, and those to delete here, too."""

    states: list[State] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """What has to be brought."""
        return sum(file.bytes for state in self.states if state.manifest is not None for file in state.manifest.tables.values())


def plan_pull(lake: Lake, bucket: Bucket, there: Look, run_ids: Iterable[str], force: bool = False) -> Plan:
    """Looks at both sides; nothing moves. `force`: what is here with other rows is replaced.

    Without it, an analysis that was repeated later in the bucket takes the place of the one here; any other run with other rows raises PersonascopeError.
    """
    held = lake.contents().runs
    plan = Plan()
    for run_id in run_ids:
        state = there.states[run_id]
        if (manifest := state.manifest) is None:
            continue
        if (mine := held.get(run_id)) is None:
            if os.path.lexists(place := lake.run_folder(run_id)):
                raise PersonascopeError(f"{place}: is there and is no sound run; nothing was pulled (`personascope doctor` says what it is)")
        elif (name := differing(mine.hashes, manifest.hashes)) is None:
            plan.known.append(run_id)
            continue
        elif not force and mine.kind == "analysis" and mine.finished >= manifest.finished:
            plan.left[run_id] = "was repeated later here; `lake push` brings that into the bucket"
            continue
        elif not force and mine.kind != "analysis":
            raise PersonascopeError(
                f"{bucket.address}: run {run_id} is in {lake.root} with other rows in {name}; nothing was pulled (`--force` takes those of the bucket, "
                "`personascope lake push --force` puts those from here in their place for everybody)"
            )
        plan.states.append(state)
    plan.deleted = sorted(run_id for run_id, mine in held.items() if _was_deleted(there.states.get(run_id), mine))
    return plan


def _was_deleted(state: State | None, mine: Manifest) -> bool:
    """Whether the bucket says of a run that it was deleted, and means these rows."""
    return state is not None and isinstance(state.said, Tombstone) and differing(mine.hashes, state.said.tables) is None


def pull(lake: Lake, bucket: Bucket, plan: Plan, watch: Watch, said: Callable[[str], None] = lambda run_id: None) -> list[str]:
    """Does what is planned, several runs side by side, and returns those that came; `said` is told of each.

    What a killed pull has brought of a run is taken up again. Raises DamagedError, when all others have come, for objects that are not what the manifest says
    and for runs that are not sound, and PersonascopeError at once for whatever keeps all from coming; whole runs that came before stay.
    """
    if plan.bytes > (free := shutil.disk_usage(lake.root).free):
        raise PersonascopeError(f"{lake.root}: has {free:,} bytes free, and {plan.bytes:,} are to come; nothing was pulled (--study and --run bring less)")
    done: list[str] = []
    damaged: dict[str, str] = {}

    def bring(state: State) -> None:
        assert state.manifest is not None
        run_id = state.manifest.run_id
        try:
            _bring(lake, bucket, state, state.manifest, watch)
        except DamagedError as error:
            damaged[run_id] = str(error)
        else:
            done.append(run_id)
            said(run_id)

    side_by_side(bring, plan.states, bucket.at_once)
    if damaged:
        first, *more = sorted(damaged)
        others = f"; damaged too: {', '.join(more[:SHOWN])}{f' and {len(more) - SHOWN} more' if len(more) > SHOWN else ''}" if more else ""
        raise DamagedError(f"{damaged[first]}{others}; {f'all others came ({len(done)})' if done else 'no other was to come'}")
    return sorted(done)


def _bring(lake: Lake, bucket: Bucket, state: State, manifest: Manifest, watch: Watch) -> None:
    """One run: its tables are written below `staging/RUN/pulled`, each under its name when its hash is right; then the folder takes the run's place."""
    staging = lake.staging_folder / manifest.run_id
    with disk_errors(f"pull of run {manifest.run_id}"), await_lock(staging, manifest.run_id, PATIENCE) as lock:
        refuse_links(staging)
        pulled = staging / PULLED
        pulled.mkdir(exist_ok=True)
        wanted = {f"{name}.parquet" for name in manifest.tables}
        for path in pulled.iterdir():
            if path.name not in wanted:
                path.unlink()
        for name, key in table_keys(manifest).items():
            _bring_table(bucket, manifest, name, key, pulled / f"{name}.parquet", watch)
        (pulled / MANIFEST).write_bytes(state.content)
        try:
            describe(manifest, pulled)
            reason = why_unsound(pulled, manifest, thorough=True)
        except (pa.ArrowException, ValueError, OverflowError) as error:
            reason = f"its {MANIFEST} is damaged ({one_line(error)})"
        except PersonascopeError as error:
            reason = str(error)
        if reason is not None:
            shutil.rmtree(pulled)
            raise DamagedError(f"{bucket.address}: run {manifest.run_id}: {reason}; it was not pulled")
        sync(pulled)
        lock.confirm()
        publish(pulled, lake.run_folder(manifest.run_id))
        discard(staging)


def _bring_table(bucket: Bucket, manifest: Manifest, name: str, key: str, place: Path, watch: Watch) -> None:
    """One table, unless it is there from an earlier try."""
    file = manifest.tables[name]
    if place.is_file() and place.stat().st_size == file.bytes and file_hash(place) == file.blake2:
        watch(file.bytes)
        return
    where = f"{bucket.address}: run {manifest.run_id}: {name}.parquet"
    making, n_bytes, found = place.with_suffix(".part"), 0, digest()
    try:
        with bucket.open(key) as source, making.open("wb") as out:
            while block := source.read(BLOCK):
                n_bytes += len(block)
                if n_bytes > file.bytes:
                    break
                found.update(block)
                out.write(block)
                watch(len(block))
    except FileNotFoundError:
        if making.parent.is_dir():
            raise DamagedError(f"{where} is not there; was the run deleted or replaced meanwhile? `lake pull` again, or `lake push` where it is") from None
        raise
    if (n_bytes, found.hexdigest()) != (file.bytes, file.blake2):
        making.unlink()
        raise DamagedError(
            f"{where} is not what was pushed (its hash or size is another); whoever has the run brings it back with "
            f"`personascope lake push {bucket.address} --force --run {manifest.run_id}`"
        )
    making.replace(place)
