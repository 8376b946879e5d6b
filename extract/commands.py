"""The command `extract NAME`, and the options it shares with every command that runs a forward pass."""

from typing import Annotated, Any

import typer

from personascope.warehouse.commands import DEFAULT_LAKE, LakeOption

app = typer.Typer()

# Options that every command with a forward pass shares.
DeviceOption = Annotated[str | None, typer.Option(help="cuda, mps or cpu (default: the best there is).")]
DtypeOption = Annotated[str | None, typer.Option(help="float32, bfloat16 or float16 (default: as stored on CUDA, float32 elsewhere).")]
AttentionOption = Annotated[str, typer.Option(help="Attention implementation of the forward pass.")]
BatchTokensOption = Annotated[int, typer.Option(help="Tokens per batch, padding included.", min=1)]
TrackOption = Annotated[bool, typer.Option("--track/--no-track", help="Log the run to MLflow.")]
ExperimentOption = Annotated[str | None, typer.Option(help="MLflow experiment.")]
TrackingUriOption = Annotated[str | None, typer.Option(help="MLflow tracking URI.")]
SettingsOption = Annotated[list[str] | None, typer.Option("--set", "-s", help="A setting of the extractor, name=value; repeatable.")]
SegmentationOption = Annotated[
    str | None, typer.Option(help="Structural tokens of the attention readout: decoded (line breaks also where fused with punctuation) or published.")
]
DateOption = Annotated[str | None, typer.Option(help="Day that chat templates write as today's, as 2024-07-26 (default: that one, on every day).")]


@app.command()
def extract(
    name: Annotated[str, typer.Argument(help="The extractor; `list` shows every one with its settings.")],
    checkpoint: Annotated[str | None, typer.Option(help="Hub id, folder, or tiny:NAME.")] = None,
    checkpoint_name: Annotated[str | None, typer.Option("--name", help="Short name for the column `checkpoint` (default: from the id).")] = None,
    revision: Annotated[str | None, typer.Option(help="Hub branch, tag or commit; pinned to the commit it means now.")] = None,
    subfolder: Annotated[str | None, typer.Option(help="Folder inside the Hub repository.")] = None,
    base: Annotated[str | None, typer.Option(help="Base model of a LoRA adapter, where its own record is of another machine or a quantised copy.")] = None,
    source_persona: Annotated[str | None, typer.Option(help="Persona the checkpoint was trained on, where its card does not say.")] = None,
    prompts: Annotated[str | None, typer.Option(help="Prompt set: shipped name, name in the lake, or FILE.csv.")] = None,
    tokens_from: Annotated[str | None, typer.Option(help="Completions run to read; another checkpoint's tokens force-feed this one.")] = None,
    donor: Annotated[str | None, typer.Option(help="Second checkpoint, whose activations are patched in: Hub id, folder, or tiny:NAME.")] = None,
    donor_base: Annotated[str | None, typer.Option(help="Base model of a donor that is a LoRA adapter.")] = None,
    settings: SettingsOption = None,
    engine: Annotated[str | None, typer.Option(help="hf or vllm, for completions.")] = None,
    segmentation: SegmentationOption = None,
    date: DateOption = None,
    seed: Annotated[int, typer.Option(help="Seed of every draw.")] = 42,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    attention: AttentionOption = "sdpa",
    batch_tokens: BatchTokensOption = 8192,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help="Run code that comes with the checkpoint.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Redo a run that is in the lake already.")] = False,
    track: TrackOption = True,
    experiment: ExperimentOption = None,
    tracking_uri: TrackingUriOption = None,
    lake: LakeOption = DEFAULT_LAKE,
) -> None:
    """Run one extractor over one checkpoint; the same work twice is recognised, a killed run resumes."""
    from personascope.extract.job import Job, run
    from personascope.extract.registry import extractor, parse_assignments, resolve_settings
    from personascope.extract.texts.templates import DATE, given_date
    from personascope.extract.weights.on_device import Models
    from personascope.ingest.prompts import load_prompt_set
    from personascope.ingest.tracking.tracker import open_tracking
    from personascope.ingest.weights.checkpoints import resolve
    from personascope.warehouse.asking.catalogue import build
    from personascope.warehouse.errors import PersonascopeError
    from personascope.warehouse.settings import Parameter
    from personascope.warehouse.store.lake import Lake

    if name == "list":
        print(_listing())
        return
    kind = extractor(name)
    if checkpoint is None:
        raise PersonascopeError(f"extract {name}: no checkpoint; expected --checkpoint with a Hub id, a folder or tiny:NAME")
    found = Lake.open(lake)
    typed: dict[str, Any] = parse_assignments(settings or [])
    typed |= {option: value for option, value in (("engine", engine), ("segmentation", segmentation)) if value is not None}
    resolved, parameters = resolve_settings(kind, {"command line": typed})
    given = (("base", base), ("donor_base", donor_base))
    parameters += [Parameter(name=option, value=value, origin="command line") for option, value in given if value is not None]
    models = Models(device, dtype, attention, trust_remote_code)
    if track:
        found.tracking = open_tracking(found, typed_uri=tracking_uri, typed_experiment=experiment)
    job = Job(
        lake=found,
        checkpoint=resolve(
            checkpoint,
            name=checkpoint_name,
            revision=revision,
            subfolder=subfolder,
            base=base,
            source_persona=source_persona,
            trust_remote_code=trust_remote_code,
        ),
        models=models,
        prompts=load_prompt_set(prompts, found) if prompts else None,
        tokens_from=found.find_run(tokens_from) if tokens_from else None,
        donor=resolve(donor, base=donor_base, trust_remote_code=trust_remote_code) if donor else None,
        date=given_date(date, "command line") if date else DATE,
        seed=seed,
        parameters=parameters,
        force=force,
        batch_tokens=batch_tokens,
    )
    run_id = run(kind(resolved, job))
    build(found)
    typer.echo(f"{run_id} is in {found.root}; next: personascope runs show {run_id}", err=True)
    print(run_id)


def _listing() -> str:
    from personascope.extract.registry import extractors

    lines = []
    for name, kind in extractors().items():
        lines.append(f"{name}: {(kind.__doc__ or '').strip().splitlines()[0]}")
        for field, info in kind.settings_type.model_fields.items():
            lines.append(f"  {field} = {info.default!r}{'  ' + info.description if info.description else ''}")
    return "\n".join(lines)
