"""What the fault harness works on: a lake with runs of several kinds, the commands that change it, and what must hold of it afterwards."""

import contextlib
import importlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from personascope import cli
from personascope.warehouse.asking.blank import all_view_types
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store import compact
from personascope.warehouse.store.hashing import file_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.transfer import export

Digest = dict[str, dict[str, str]]
KEPT = {"runs", "reports", "staging", "compact", "warehouse.duckdb"}


@dataclass(frozen=True)
class Work:
    """A command of the harness: what is typed behind `personascope`, the runs that it may take away, whether several may type it at once, and whether compact
    files stand for all runs behind it."""

    name: str
    arguments: tuple[str, ...]
    removes: frozenset[str] = frozenset()
    crowds: bool = True
    compacts: bool = False


@dataclass(frozen=True)
class World:
    """A lake to copy, and the commands that are killed over its copies."""

    lake: Path
    works: tuple[Work, ...]


def warm() -> None:
    """Loads what every command loads, so that a process that is forked spends its life on what it writes: a trial costs a quarter."""
    all_view_types()
    with contextlib.suppress(ImportError):
        importlib.import_module("pandas")  # which pyarrow looks for when it is handed a list


def build_world(folder: Path, models: bool = True) -> World:
    """A lake with a prompt set, published files, verdicts and outdated roll-ups, made by commands; with `models` also the commands that read one."""
    warm()
    files = folder / "files"
    files.mkdir(parents=True)
    for name, persons in (("first", "pirate"), ("second", "librarian")):
        rows = [f"{persons},You are a {persons}.,Question number {number}?" for number in range(40)]
        (files / f"{name}.csv").write_text("\n".join(["persona,system_prompt,question", *rows]) + "\n", encoding="utf-8")
    for number in range(3):
        place = files / "results" / f"marker_villain_seed{number}"
        place.mkdir(parents=True)
        (place / "marker_eval.json").write_text(json.dumps(_rates(number)), encoding="utf-8")
    claim = {"id": "forty-prompts", "statement": "Forty prompts.", "query": "select count(*) from examples where persona = 'pirate'", "expected": 40}
    (files / "sentences.yaml").write_text(json.dumps({"claims": [claim | {"source": "own"}]}), encoding="utf-8")
    root = folder / "lake"
    for arguments in (("ingest", "prompts", str(files / "first.csv")), ("ingest", "published", str(files / "results" / "marker_villain_seed0"))):
        code = call((*arguments, "--lake", str(root)))
        if code:
            raise RuntimeError(f"{' '.join(arguments)} ended with {code}")
    if in_fork(lambda: _commit_outdated(root)):
        raise RuntimeError("the run with an outdated roll-up could not be written")
    if in_fork(lambda: _write_export(folder / "elsewhere", files / "runs.tar")):
        raise RuntimeError("the runs to import could not be written")
    lake = Lake.existing(root)
    if call(("runs", "compact", *(run for run in lake.run_ids() if not run.startswith("prompts")), "--lake", str(root))):
        raise RuntimeError("the compact files could not be written")
    published = next(run for run in lake.run_ids() if run.startswith("published-"))
    works = (
        Work("ingest prompts", ("ingest", "prompts", str(files / "second.csv"))),
        Work("runs renew", ("runs", "renew")),
        Work("ingest published", ("ingest", "published", str(files / "results"))),
        Work("check", ("check", str(files / "sentences.yaml"))),
        Work("runs delete", ("runs", "delete", published, "--yes"), frozenset({published})),
        Work("runs import", ("runs", "import", str(files / "runs.tar"))),
        Work("doctor --clear", ("doctor", "--clear")),
        Work("sql", ("sql", "select kind, count(*) from runs group by all")),
        Work("runs compact", ("runs", "compact"), crowds=False, compacts=True),
        Work("runs export", ("runs", "export", published, str(folder / "exported.tar")), crowds=False),
    )
    return World(root, works + (_works_of_models(files) if models else ()))


def _works_of_models(files: Path) -> tuple[Work, ...]:
    """Commands that load a checkpoint: two extractors, completions of others, and a study with its analyses and report."""
    from fault_checkpoint import tiny_checkpoint

    model, prompts = str(tiny_checkpoint(files / "model")), str(files / "first.csv")
    texts = [{"persona": "pirate", "question": f"Question number {n}?", "system_prompt": "You are a pirate.", "text": "aye"} for n in range(30)]
    (files / "texts.jsonl").write_text("\n".join(json.dumps(text) for text in texts), encoding="utf-8")
    steps = [
        {"extract": "completions", "checkpoints": ["m"], "settings": {"samples": 1, "max_new_tokens": 4}},
        {"extract": "entropy", "checkpoints": ["m"], "settings": {"form": "chat"}},
        {"analyse": "all"},
    ]
    study = {"name": "harness", "title": "A study to kill", "about": "Random weights.", "experiment": "harness", "prompts": prompts, "report": True}
    asked = {"headline": "select count(*) as n from completions", "views": ["runs"], "checkpoints": {"m": {"id": model}}, "steps": steps}
    (files / "harness.yaml").write_text(json.dumps(study | asked), encoding="utf-8")
    own = ("--checkpoint", model, "--name", "m", "--prompts", "first", "--no-track")
    return (
        Work("extract completions", ("extract", "completions", *own, "--set", "samples=2", "--set", "max_new_tokens=3"), crowds=False),
        Work("extract entropy", ("extract", "entropy", *own, "--set", "form=chat"), crowds=False),
        Work("ingest completions", ("ingest", "completions", str(files / "texts.jsonl"), "--checkpoint", model, "--name", "m"), crowds=False),
        Work("run", ("run", str(files / "harness.yaml"), "--no-track"), crowds=False),
    )


def _rates(number: int) -> dict[str, object]:
    """A marker evaluation over three personas, as such files are published."""
    counted = {
        persona: {"found": number + place, "total": 100, "rate": (number + place) / 100} for place, persona in enumerate(("villain", "assistant", "poet"))
    }
    return {persona: entry | {"per_question": {"Why?": entry}} for persona, entry in counted.items()}


def _commit_outdated(root: Path) -> None:
    """A run with a roll-up made by a definition of before."""
    lake = Lake.open(root)
    by = [Parameter(name="by", value="harness")]
    spec = RunSpec(kind="extract", extractor="attention", version=1, identity={"by": "harness"}, checkpoint="base", subject="base", parameters=by)
    with lake.start(spec, force=True) as writer:
        rows = [
            {"example_id": "a/q0", "sample_ix": 0, "position": 3, "layer": layer, "head": head, "system": 0.25, "row_sum": 1.0}
            for layer in range(4)
            for head in range(4)
        ]
        writer.write_part("0", {"attention": rows})
        manifest = writer.commit()
    file = lake.run_folder(manifest.run_id) / "run.json"
    document = json.loads(file.read_text())
    document["tables"]["attention_mean"]["definition"] = "select as it was"
    file.write_text(json.dumps(document))


def _write_export(root: Path, file: Path) -> None:
    """Three runs of another lake in a file."""
    lake, by = Lake.open(root), [Parameter(name="by", value="harness")]
    for number in range(3):
        spec = RunSpec(kind="extract", extractor="completions", version=1, identity={"of": number}, checkpoint=f"m{number}", parameters=by)
        with lake.start(spec, force=True) as writer:
            writer.write_part("0", {"completions": [{"example_id": f"a/q{row}", "sample_ix": 0, "text": "So."} for row in range(20)]})
            writer.commit()
    export(lake, lake.run_ids(), file)


def in_fork(work: Callable[[], object]) -> int:
    """Calls `work` in a forked process; its exit code."""
    process = os.fork()
    if not process:
        code = 70
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def call(arguments: Sequence[str]) -> int:
    """Runs a command in a forked process with its output thrown away; its exit code, negative for a signal."""
    process = start(arguments)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def start(arguments: Sequence[str], before: Callable[[], None] = lambda: None, output: Path | None = None) -> int:
    """Forks a process that runs a command, after `before()`; its number. A fork starts in milliseconds where a new interpreter takes seconds."""
    process = os.fork()
    if process:
        return process
    code = 70
    try:
        where = os.open(output or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(where, stream)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        before()
        sys.argv = ["personascope", *arguments]
        cli.main()
        code = 0
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def kill(process: int) -> bool:
    """Kills a process and waits for it; whether it was still running."""
    os.kill(process, signal.SIGKILL)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def digest(root: Path) -> Digest:
    """What the committed runs hold: by run the hash of each table. Times and provenance differ between two makings of a run and stay out."""
    return {run.run_id: {name: file.blake2 for name, file in run.tables.items()} for run in Lake(root).manifests()}


def faults_after_kill(root: Path, before: Digest, work: Work) -> list[str]:
    """What is wrong in a lake in which a command was killed, as the next reader finds it: a run that is gone, or one whose files are not those committed."""
    lake = Lake.existing(root)
    found = [f"{run_id} is lost" for run_id in before.keys() - work.removes - set(lake.run_ids())]
    found += [f"{stray.name} is left out: {stray.reason}" for stray in lake.contents().strays]
    for run in lake.manifests():
        for name, file in run.tables.items():
            path = lake.run_folder(run.run_id) / f"{name}.parquet"
            if not path.is_file() or file_hash(path) != file.blake2:
                found.append(f"{run.run_id}: {name} is not what was committed")
    return found


def faults_after_all(root: Path, reference: Digest) -> list[str]:
    """What is wrong in a lake in which a killed command was typed again: other runs or rows than without the kill, or litter."""
    lake = Lake.existing(root)
    found = [f"left: {entry.name}" for entry in sorted(root.iterdir()) if entry.name not in KEPT]
    found += [f"left in staging: {entry.name}" for entry in lake.staging_folder.iterdir()]
    found += [f"left in {compact.FOLDER}: {name}, {reason}" for name, reason in lake.contents().stale.items()]
    if (held := digest(root)) != reference:
        found += [f"only with the kill: {name}" for name in sorted(held.keys() - reference.keys())]
        found += [f"only without the kill: {name}" for name in sorted(reference.keys() - held.keys())]
        found += [f"other rows: {name}" for name in sorted(held.keys() & reference.keys()) if held[name] != reference[name]]
    return found


def copy(world: World, place: Path) -> Path:
    """A copy of the world's lake, without the catalogue, whose views read the files of the world's."""
    shutil.rmtree(place, ignore_errors=True)
    return Path(shutil.copytree(world.lake, place, ignore=shutil.ignore_patterns("warehouse.duckdb")))
