"""Commands that bring in what others made: checkpoints, prompt sets, published results."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from personascope.warehouse.commands import DEFAULT_LAKE, LakeOption
from personascope.warehouse.errors import PersonascopeError, pasted, pasted_options
from personascope.warehouse.store.lake import Lake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from personascope.ingest.published.report import FileOutcome
    from personascope.warehouse.asking.doctor import Finding


def typed_path(text: str) -> Path:
    """A path as typed; an empty one, which a shell makes of an unset variable, would be read as the present folder."""
    if not text.strip():
        raise PersonascopeError("a path is empty; expected a file or folder (is a variable unset?)")
    return Path(text)


app = typer.Typer(no_args_is_help=True, help="Bring in checkpoints, prompt sets, completions and published result files.")


@app.command()
def checkpoint(
    reference: Annotated[str, typer.Argument(help="Hub id, folder (full model or LoRA adapter), FILE.gguf, or tiny:NAME.")],
    name: Annotated[str | None, typer.Option(help="Short name for the column `checkpoint`.")] = None,
    revision: Annotated[str | None, typer.Option(help="Hub branch, tag or commit; pinned to the commit it means now.")] = None,
    subfolder: Annotated[str | None, typer.Option(help="Folder inside the Hub repository.")] = None,
    base: Annotated[str | None, typer.Option(help="Base model of a LoRA adapter, where its own record is of another machine or a quantised copy.")] = None,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the checkpoint.")] = False,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Fetch or make a checkpoint, check its files, and record it in the lake."""
    from personascope.ingest.weights.checkpoints import resolve
    from personascope.ingest.weights.record import record_checkpoint
    from personascope.warehouse.asking.catalogue import build

    resolved = resolve(reference, name=name, revision=revision, subfolder=subfolder, base=base, trust_remote_code=trust_remote_code)
    found = Lake.open(lake)
    run_id = record_checkpoint(found, resolved, base)
    build(found)
    kind = [resolved.family, resolved.variant, f"{resolved.n_layers} layers", *([resolved.quantisation] if resolved.quantisation else [])]
    typer.echo(
        f"{resolved.name}: {resolved.id} at {resolved.revision} ({', '.join(kind)}) in {resolved.path}",
        err=True,
    )
    typed = pasted(reference) + pasted_options(name=name, revision=revision, subfolder=subfolder, base=base, trust_remote_code=trust_remote_code)
    typer.echo(f"next: personascope extract completions --checkpoint {typed} --prompts personas --lake {pasted(lake)}", err=True)
    print(run_id)


@app.command()
def prompts(
    file: Annotated[
        Path,
        typer.Argument(help="CSV, TSV, JSON lines or Parquet file with the columns persona and question, or category, question and question_id (the pair)."),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the prompt set (default: the file's).")] = None,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Bring a prompt set into the lake, versioned by its content."""
    from personascope.ingest.prompts import NO_PERSONA, ingest_prompts, read_prompts
    from personascope.warehouse.asking.catalogue import build

    read_prompts(file, name)
    found = Lake.open(lake)
    prompt_set, run_id, new = ingest_prompts(found, file, name)
    build(found)
    for note in prompt_set.notes:
        typer.echo(note, err=True)
    state = "is in the lake" if new else "was in the lake already"
    whose = f"{len(prompt_set.categories)} categories" if prompt_set.personas == [NO_PERSONA] else f"{len(prompt_set.personas)} personas"
    typer.echo(f"{prompt_set.label}: {len(prompt_set.prompts)} prompts of {whose} {state} {found.root}", err=True)
    extractor = "entropy --set form=raw" if prompt_set.personas == [NO_PERSONA] else "completions"
    typer.echo(f"next: personascope extract {extractor} --checkpoint ID --prompts {pasted(prompt_set.name)} --lake {pasted(lake)}", err=True)
    print(run_id)


@app.command()
def published(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders of published results; recognised by content.", parser=typed_path, metavar="PATHS")],
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Load published result files; the same content twice adds nothing, a damaged file costs that file only."""
    from personascope.ingest.published import ingest_published
    from personascope.warehouse.analyses import refresh
    from personascope.warehouse.asking.catalogue import build

    found = Lake.open(lake)
    report = ingest_published(found, paths, progress=lambda outcome, total: typer.echo(_outcome(outcome), err=True))
    refresh(found)
    build(found)
    counts = ", ".join(f"{count} {status}" for status, count in report.counts.items() if count)
    typer.echo(f"{counts}; the lake is {found.root}; next: personascope audit --lake {pasted(lake)}", err=True)
    if report.failed:
        failed = len(report.of("failed"))
        raise PersonascopeError(f"{failed} of {len(report.files)} files could not be loaded; the lines above say which and why")


def examine_tracking(lake: Lake) -> "Iterator[Finding]":
    """What `doctor` says of the MLflow stores of a lake."""
    from personascope.ingest.tracking.examine import examine_tracking

    return examine_tracking(lake)


def _outcome(outcome: "FileOutcome") -> str:
    what = f"{outcome.kind}, {outcome.n_rows:,} rows" if outcome.kind else outcome.reason
    notes = "".join(f"\n    {note}" for note in outcome.notes)
    return f"{outcome.status:13} {outcome.path}: {what}{notes}"
