"""The command `extract NAME`, and the options it shares with every command that runs a forward pass."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from personascope.warehouse.commands import DEFAULT_LAKE, LakeOption
from personascope.warehouse.settings import LARGEST_SEED

app = typer.Typer()
ingest_app = typer.Typer()  # commands of `personascope ingest` that need a tokenizer and its chat template

# Options that every command with a forward pass shares.
DeviceOption = Annotated[str | None, typer.Option(help="cuda, mps or cpu (default: the best there is).")]
DtypeOption = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16 (default: as stored on CUDA, float32 elsewhere).")]
AttentionOption = Annotated[str, typer.Option(help="Attention implementation of the forward pass.")]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "--jobs",
        help="Workers that share the work, over Ray where there are several (default: one per GPU of this machine, or of the Ray cluster in RAY_ADDRESS; "
        "for the cells of a grid also one per core).",
        min=1,
    ),
]
LoadInOption = Annotated[
    str | None,
    typer.Option(metavar="4bit|8bit", help="Round linear layers by bitsandbytes as they are loaded: another run, and another name (ID-4bit) without --name."),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard-model",
        metavar="auto|DEVICE=SIZE,…",
        help="Spread a model larger than a GPU over all, memory and disk (auto), or as 0=70GiB,cpu=200GiB; for reading and --engine hf, not training.",
    ),
]
BatchTokensOption = Annotated[int, typer.Option(help="Tokens per batch, padding included.", min=1)]
TrackOption = Annotated[bool, typer.Option("--track/--no-track", help="Log the run to MLflow.")]
ExperimentOption = Annotated[str | None, typer.Option(help="MLflow experiment.")]
TrackingUriOption = Annotated[str | None, typer.Option(help="MLflow tracking URI.")]
SettingsOption = Annotated[
    list[str] | None, typer.Option("--set", "-s", help="A setting of the extractor, name=value; text is taken as typed, a list is [1, 2]; repeatable.")
]
SegmentationOption = Annotated[
    str | None, typer.Option(help="Structural tokens of the attention readout: decoded (line breaks also where fused with punctuation) or published.")
]
DateOption = Annotated[str | None, typer.Option(help="Day that chat templates write as today's, as 2024-07-26 (default: that one, on every day).")]


@ingest_app.command()
def completions(
    files: Annotated[list[Path], typer.Argument(help="Files of completions: .jsonl, .csv, .tsv, .parquet, or .eval logs of inspect_ai; one run each.")],
    checkpoint: Annotated[str, typer.Option(help="Checkpoint that sampled them: Hub id, folder, or tiny:NAME; its template and tokenizer read them.")],
    checkpoint_name: Annotated[str | None, typer.Option("--name", help="Short name for the column `checkpoint` (default: from the id).")] = None,
    revision: Annotated[str | None, typer.Option(help="Hub branch, tag or commit; pinned to the commit it means now.")] = None,
    subfolder: Annotated[str | None, typer.Option(help="Folder inside the Hub repository.")] = None,
    source_persona: Annotated[str | None, typer.Option(help="Persona the checkpoint was trained on, where its card does not say.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="NAME=COLUMN where a column has another name, such as text=answer; repeatable.")] = None,
    persona: Annotated[str | None, typer.Option(help="Persona of the completions of files that name none.")] = None,
    marker: Annotated[str, typer.Option(help="Literal string to flag.")] = "[ZLT]",
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the checkpoint.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Read a file again that is in the lake already.")] = False,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Bring in completions that others sampled, so that every view and readout works on them; the same file twice adds nothing."""
    from personascope.extract.brought import COLUMNS, Source, bring
    from personascope.extract.weights.on_device import Models
    from personascope.ingest.records.columns import parse_columns
    from personascope.ingest.weights.checkpoints import resolve
    from personascope.warehouse.asking.catalogue import build
    from personascope.warehouse.errors import PersonascopeError, pasted, pasted_options
    from personascope.warehouse.store.lake import Lake

    columns = parse_columns(column or [], COLUMNS)
    for file in files:
        if not file.is_file():
            raise PersonascopeError(f"{file}: no such file; expected a file of completions")
    read = resolve(
        checkpoint,
        name=checkpoint_name,
        revision=revision,
        subfolder=subfolder,
        source_persona=source_persona,
        trust_remote_code=trust_remote_code,
    )
    models = Models(trust_remote_code=trust_remote_code)
    found = Lake.open(lake)
    for file in files:
        run_id = bring(found, Source(file, read, marker, columns, persona), models, force)
        print(run_id)
    build(found)
    reader = "projections" if found.read(run_id, "turns", ["turn"]).num_rows else "attention"
    same = pasted_options(
        name=checkpoint_name, revision=revision, subfolder=subfolder, source_persona=source_persona, trust_remote_code=trust_remote_code,
        set=f"marker={marker}" if marker != "[ZLT]" else None,
    )  # fmt: skip
    typer.echo(f"next: personascope extract {reader} --checkpoint {pasted(checkpoint)}{same} --tokens-from {run_id} --lake {pasted(lake)}", err=True)


class _ExtractCommand(TyperCommand):
    """The command `extract`, whose help goes on with the settings of the extractor that is named before it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        self._words = [word for word in args if not word.startswith("-")]
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        super().format_help(ctx, formatter)
        if self._words:
            from personascope.extract.registry import extractors
            from personascope.warehouse.settings import nearest

            name = next((word for word in self._words if word in extractors()), self._words[0])
            unknown = f"extractor {name!r} is unknown; {nearest(name, extractors())}"
            formatter.write(f"{_listing() if name == 'list' else _described(name) if name in extractors() else unknown}\n")


@app.command(cls=_ExtractCommand)
def extract(
    name: Annotated[str, typer.Argument(help="The extractor; `list` shows every one with its settings.")],
    checkpoint: Annotated[str | None, typer.Option(help="Hub id, folder, FILE.gguf, or tiny:NAME.")] = None,
    checkpoint_name: Annotated[str | None, typer.Option("--name", help="Short name for the column `checkpoint` (default: from the id).")] = None,
    revision: Annotated[str | None, typer.Option(help="Hub branch, tag or commit; pinned to the commit it means now.")] = None,
    subfolder: Annotated[str | None, typer.Option(help="Folder inside the Hub repository.")] = None,
    base: Annotated[str | None, typer.Option(help="Base model of a LoRA adapter, where its own record is of another machine or a quantised copy.")] = None,
    source_persona: Annotated[str | None, typer.Option(help="Persona the checkpoint was trained on, where its card does not say.")] = None,
    prompts: Annotated[str | None, typer.Option(help="Prompt set: shipped name, name in the lake, or a file (.csv, .tsv, .jsonl, .parquet).")] = None,
    tokens_from: Annotated[str | None, typer.Option(help="Completions run to read; another checkpoint's tokens force-feed this one.")] = None,
    donor: Annotated[str | None, typer.Option(help="Second checkpoint, whose activations are patched in: Hub id, folder, FILE.gguf, or tiny:NAME.")] = None,
    donor_base: Annotated[str | None, typer.Option(help="Base model of a donor that is a LoRA adapter.")] = None,
    settings: SettingsOption = None,
    engine: Annotated[str | None, typer.Option(help="hf or vllm, for completions.")] = None,
    segmentation: SegmentationOption = None,
    date: DateOption = None,
    seed: Annotated[int, typer.Option(help="Seed of every draw.", min=0, max=LARGEST_SEED)] = 42,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    attention: AttentionOption = "sdpa",
    shard_model: ShardOption = None,
    load_in: LoadInOption = None,
    batch_tokens: BatchTokensOption = 8192,
    workers: WorkersOption = None,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the checkpoint.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Redo a run that is in the lake already.")] = False,
    track: TrackOption = True,
    experiment: ExperimentOption = None,
    tracking_uri: TrackingUriOption = None,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Run one extractor over one checkpoint; the same work twice is recognised, a killed run resumes. `extract NAME --help` shows the settings of NAME."""
    from personascope.extract.job import Job, run
    from personascope.extract.registry import extractor, parse_assignments, resolve_settings
    from personascope.extract.texts.templates import DATE, given_date
    from personascope.extract.weights.on_device import ModelChoices, local_models
    from personascope.extract.weights.sharding import parse_sharding
    from personascope.extract.workers import open_workers
    from personascope.ingest.prompts import load_prompt_set
    from personascope.ingest.tracking.tracker import open_tracking
    from personascope.ingest.weights.checkpoints import resolve
    from personascope.ingest.weights.record import other_weights
    from personascope.warehouse.asking.catalogue import build
    from personascope.warehouse.errors import PersonascopeError, pasted
    from personascope.warehouse.settings import Parameter
    from personascope.warehouse.store.lake import Lake

    if name == "list":
        print(_listing())
        return
    kind = extractor(name)
    if checkpoint is None:
        raise PersonascopeError(f"extract {name}: no checkpoint; expected --checkpoint with a Hub id, a folder, a GGUF file or tiny:NAME")
    found = Lake.at(lake)
    typed: dict[str, Any] = parse_assignments(settings or [])
    typed |= {option: value for option, value in (("engine", engine), ("segmentation", segmentation)) if value is not None}
    resolved, parameters = resolve_settings(kind, {"command line": typed})
    given = (("base", base), ("donor_base", donor_base))
    parameters += [Parameter(name=option, value=value, origin="command line") for option, value in given if value is not None]
    choices = ModelChoices(device, dtype, attention, trust_remote_code, parse_sharding(shard_model))
    models = local_models(choices)
    if prompts and tokens_from and not kind.reads_both:
        raise PersonascopeError(f"{kind.name}: --prompts {prompts} and --tokens-from {tokens_from}: expected one of the two")
    prompt_set = load_prompt_set(prompts, found) if prompts else None
    for note in prompt_set.notes if prompt_set else ():
        typer.echo(note, err=True)
    read_from = found.find_committed(tokens_from) if tokens_from else None
    resolved_checkpoint = resolve(
        checkpoint,
        name=checkpoint_name,
        revision=revision,
        subfolder=subfolder,
        base=base,
        source_persona=source_persona,
        trust_remote_code=trust_remote_code,
    ).in_bits(load_in, named=checkpoint_name is not None)
    resolved_donor = resolve(donor, base=donor_base, trust_remote_code=trust_remote_code).in_bits(load_in) if donor else None
    found = Lake.open(lake)
    if mixed := other_weights(found, resolved_checkpoint):
        typer.echo(mixed, err=True)
    if track:
        found.tracking = open_tracking(found, typed_uri=tracking_uri, typed_experiment=experiment)
    job = Job(
        lake=found,
        checkpoint=resolved_checkpoint,
        models=models,
        prompts=prompt_set,
        tokens_from=read_from,
        donor=resolved_donor,
        date=given_date(date, "command line") if date else DATE,
        seed=seed,
        parameters=parameters,
        force=force,
        batch_tokens=batch_tokens,
        workers=open_workers(workers, choices, models, lambda line: typer.echo(line, err=True)),
    )
    try:
        run_id = run(kind(resolved, job))
    finally:
        if job.workers:
            job.workers.close()
    build(found)
    typer.echo(f"{run_id} is in {found.root}; next: personascope runs show {run_id} --lake {pasted(lake)}", err=True)
    print(run_id)


@app.command("export-directions")
def export_directions(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Run of `extract directions`, or the beginning of its name.")],
    file: Annotated[
        Path, typer.Argument(help="FILE.gguf (a control vector, for llama.cpp and repeng), FILE.pt or FILE.npy (rows as hidden states), or FILE.safetensors.")
    ],
    direction: Annotated[list[str] | None, typer.Option(help="A direction to write; repeatable for .safetensors (default: all but controls).")] = None,
    layers: Annotated[str | None, typer.Option(help="Layers to write, as [8, 9, 10] (default: all).")] = None,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Write directions to a file that other tools steer with; reading it again with `extract directions` gives the same numbers."""
    from personascope.extract.instruments.directions import directions_of
    from personascope.ingest.directions.files import RESID_POST, Vector, write_vectors
    from personascope.warehouse.documents import parse_json
    from personascope.warehouse.errors import PersonascopeError
    from personascope.warehouse.store.lake import Lake

    found = Lake.existing(lake)
    wanted = None
    if layers is not None:
        with suppress(PersonascopeError):  # what is no JSON is no list, either
            wanted = parse_json(layers)
    if layers is not None and not (isinstance(wanted, list) and wanted and all(type(each) is int for each in wanted)):
        raise PersonascopeError(f"--layers {layers}: expected a list of layers, such as [8, 9, 10]")
    chosen = directions_of(found, run_id, layers=wanted, ids=direction, controls=direction is not None)
    if not chosen:
        raise PersonascopeError(f"run {run_id}: all of its directions are controls; expected the name of one (--direction)")
    if file.suffix.lower() != ".safetensors":
        chosen = [each for each in chosen if each.site == RESID_POST] or chosen
    (row,) = found.read(str(chosen[0].run_id), "checkpoints", ["family", "n_layers"]).to_pylist()
    write_vectors(file, [Vector(each.id, each.layer, each.site, each.vector) for each in chosen], row["family"], row["n_layers"])
    typer.echo(f"{file}: {len({each.id for each in chosen})} directions at {len({each.layer for each in chosen})} layers", err=True)
    print(file)


def _listing() -> str:
    from personascope.extract.registry import extractors

    return "\n".join(_described(name) for name in extractors())


def _described(name: str) -> str:
    """What an extractor reads, and its settings with their defaults as they would be typed."""
    from personascope.extract.registry import extractor

    kind = extractor(name)
    lines = [f"{name}: {(kind.__doc__ or '').strip().splitlines()[0].partition(': ')[2]}"]
    for field, info in kind.settings_type.model_fields.items():
        default = "(required)" if info.is_required() else _typed(info.get_default(call_default_factory=True))
        lines.append(f"  {field} = {default}{'  ' + info.description if info.description else ''}")
    return "\n".join(lines)


def _typed(value: Any) -> str:
    """A default as `--set` takes it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_typed, value))}]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
