"""Brings runs of a lake into a bucket: the tables first, then the manifest, by which a run is there, in one step that one of several who race wins."""

from collections.abc import Callable, Container, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO, TypeVar

from personascope.warehouse.buckets.bucket import Bucket, Change, Watch
from personascope.warehouse.buckets.folder import open_itself
from personascope.warehouse.buckets.states import Look, State, Tombstone, look, read_state, state_key, table_keys, tombstone
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stream_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import MANIFEST, Manifest
from personascope.warehouse.store.rollups import differing

T = TypeVar("T")


@dataclass(frozen=True)
class Move:
    """A run to bring over: the state it is put over, and by table the objects to send."""

    manifest: Manifest
    over: State | None
    objects: dict[str, str]

    @property
    def bytes(self) -> int:
        """What has to be sent."""
        return sum(self.manifest.tables[name].bytes for name in self.objects)


@dataclass
class Plan:
    """What a push will do: runs to bring over, those that are there with the same rows, and those left as they are, each with the reason."""

    moves: list[Move] = field(default_factory=list)
    known: list[str] = field(default_factory=list)
    left: dict[str, str] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        """What has to be sent."""
        return sum(move.bytes for move in self.moves)


def plan_push(lake: Lake, bucket: Bucket, run_ids: Iterable[str], force: bool = False, again: Container[str] = ()) -> Plan:
    """Looks at both sides; nothing moves. `force`: what is there with other rows, or was deleted, is replaced.

    Runs of `again` are sent whole, since an object that was damaged there may have the size that it should have.
    Without `force`, an analysis that was repeated here later takes the place of the earlier one; any other run with other rows raises PersonascopeError.
    """
    there = look(bucket)
    plan = Plan()
    for run_id in run_ids:
        manifest, state = lake.manifest(run_id), there.states.get(run_id)
        if run_id in there.strays:
            raise PersonascopeError(f"{bucket.address}: run {run_id}: {there.strays[run_id]}; nothing was pushed (expected a bucket that `lake push` filled)")
        if state is not None and isinstance(state.said, Tombstone) and not force:
            plan.left[run_id] = f"was deleted from the bucket on {state.said.deleted:%Y-%m-%d}; --force brings it back"
            continue
        objects = table_keys(manifest) if run_id in again else _to_send(manifest, state, there)
        if state is not None and state.manifest is not None:
            name = differing(manifest.hashes, state.manifest.hashes)
            if name is None:
                if run_id not in again and _is_whole(state.manifest, there):
                    plan.known.append(run_id)
                else:
                    plan.moves.append(Move(manifest, state, objects))
                continue
            if not force and manifest.kind == "analysis" and manifest.finished <= state.manifest.finished:
                plan.left[run_id] = "was repeated later by whoever pushed it; `lake pull` brings that"
                continue
            if not force and manifest.kind != "analysis":
                raise PersonascopeError(
                    f"{bucket.address}: run {run_id} is there with other rows in {name}; nothing was pushed (`--force` puts those of {lake.root} in their "
                    "place for everybody, `personascope lake pull --force` takes those of the bucket)"
                )
        plan.moves.append(Move(manifest, state, objects))
    return plan


def _to_send(manifest: Manifest, state: State | None, there: Look) -> dict[str, str]:
    """Objects that are not there. What a killed push sent counts for a run that nobody committed; else what the state names alone: the rest may be going."""
    keys = table_keys(manifest)
    if state is not None and state.manifest is None:
        return keys
    named = set(table_keys(state.manifest).values()) if state is not None and state.manifest is not None else set(keys.values())
    return {name: key for name, key in keys.items() if key not in named or there.entries.get(key) != manifest.tables[name].bytes}


def _is_whole(manifest: Manifest, there: Look) -> bool:
    """Whether the bucket holds every object that a state of it names."""
    return all(there.entries.get(key) == manifest.tables[name].bytes for name, key in table_keys(manifest).items())


def push(lake: Lake, bucket: Bucket, plan: Plan, watch: Watch, said: Callable[[str], None] = lambda run_id: None) -> list[str]:
    """Does what is planned, several runs side by side, and returns those that are new or other in the bucket now; `said` is told of each.

    Raises PersonascopeError for a table that is not the file that was committed, and for a run that somebody else pushed with other rows meanwhile.
    """
    done: list[str] = []
    beaten: list[str] = []

    def carry(moves: list[Move]) -> None:
        changes = [_send(lake, bucket, move, watch) for move in moves]
        for move, change, put in zip(moves, changes, bucket.commit(changes), strict=True):
            if put:
                _tidy(bucket, move)
            elif not _is_there(bucket, move, change.content):
                beaten.append(move.manifest.run_id)
                continue
            done.append(move.manifest.run_id)
            said(move.manifest.run_id)

    batches = [plan.moves[first : first + bucket.batch] for first in range(0, len(plan.moves), bucket.batch)]
    side_by_side(carry, batches, bucket.at_once)
    if beaten:
        others = f" and {len(beaten) - 1} more" if beaten[1:] else ""
        raise PersonascopeError(
            f"{bucket.address}: run {min(beaten)}{others} came there with other rows while this push was on its way; theirs stands, and all else is pushed"
        )
    return sorted(done)


def side_by_side(work: Callable[[T], object], items: list[T], at_once: int) -> None:
    """Does the work for each item in that many threads; the first that fails, or a signal, stops those that have not begun."""
    pool = ThreadPoolExecutor(max(1, at_once))
    try:
        for _ in pool.map(work, items):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def _send(lake: Lake, bucket: Bucket, move: Move, watch: Watch) -> Change:
    """Sends the tables of a run, each looked at once more, and returns its commit."""
    manifest = move.manifest
    folder, what = lake.run_folder(manifest.run_id), f"run {manifest.run_id}:"
    try:
        for name, key in sorted(move.objects.items()):
            with open_itself(folder / f"{name}.parquet", f"{what} {name}.parquet") as source:
                _check(source, manifest, name)
                bucket.send(source, key, watch)
        with open_itself(folder / MANIFEST, f"{what} {MANIFEST}") as source:
            content = source.read()
    except FileNotFoundError as error:
        raise PersonascopeError(f"{what} was deleted or replaced in {lake.root} meanwhile; the same command looks again") from error
    if Manifest.model_validate_json(content) != manifest:
        raise PersonascopeError(f"run {manifest.run_id}: was replaced in {lake.root} meanwhile; the same command brings it over as it is")
    return Change(state_key(manifest.run_id), content, move.over.version if move.over is not None else None)


def _check(source: BinaryIO, manifest: Manifest, name: str) -> None:
    """Raises PersonascopeError unless the file is the one that was committed; leaves it at its beginning."""
    n_bytes, digest = stream_hash(source)
    if (n_bytes, digest) != (manifest.tables[name].bytes, manifest.tables[name].blake2):
        raise PersonascopeError(f"run {manifest.run_id}: {name}.parquet is not the file that was committed; `personascope doctor` says what is wrong with it")
    source.seek(0)


def _is_there(bucket: Bucket, move: Move, content: bytes) -> bool:
    """Whether the run is there though our commit was too late: ours came through unheard, or somebody pushed the same rows. What was sent in vain goes."""
    state = read_state(bucket, move.manifest.run_id)
    if state is not None and state.content == content:
        return True
    theirs = state.manifest if state is not None else None
    if theirs is not None:
        bucket.remove(set(move.objects.values()) - set(table_keys(theirs).values()))
    return theirs is not None and differing(theirs.hashes, move.manifest.hashes) is None


def _tidy(bucket: Bucket, move: Move) -> None:
    """Removes the tables of what was replaced, if what was put in its place still stands."""
    before = move.over.manifest if move.over is not None else None
    if before is not None and (now := read_state(bucket, move.manifest.run_id)) is not None and now.manifest == move.manifest:
        bucket.remove(set(table_keys(before).values()) - set(table_keys(move.manifest).values()))


def delete(bucket: Bucket, run_ids: Iterable[str]) -> list[str]:
    """Deletes runs from the bucket for everybody: each is marked as deleted in one step, then its tables go. Returns those that were there.

    Typed again after a kill it removes what was left. Raises PersonascopeError for a run that the bucket never held, and one that changes meanwhile.
    """
    there = look(bucket)
    found = []
    for run_id in run_ids:
        if (state := there.states.get(run_id)) is None:
            reason = there.strays.get(run_id)
            raise PersonascopeError(f"{bucket.address}: {f'run {run_id}: {reason}' if reason else f'holds no run {run_id}'}; nothing of it was deleted")
        if state.manifest is not None:
            if not all(bucket.commit([Change(state_key(run_id), tombstone(state.manifest), state.version)])):
                raise PersonascopeError(f"{bucket.address}: run {run_id} was replaced meanwhile and was not deleted; the same command looks again")
            found.append(run_id)
        bucket.remove(there.of(run_id).keys() - {state_key(run_id)})
    return found
