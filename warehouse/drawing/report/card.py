"""The reproducibility card: what the runs of a report say of their own making, read from their manifests and their rows of the table `checkpoints`.

A value that no run recorded is shown as missing; values in which runs differ are all shown, each with the number of runs that have it.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing.report.document import MISSING, Block, Cells, Paragraph, Section, cell, listing
from personascope.warehouse.store.manifest import Manifest

SHORT_COMMIT = 12
LORA = ("marker-lora", "failed-marker-lora")  # extractors of trainings that make a checkpoint
NAMED = 5  # checkpoints by name where a sentence lists them
STAMP = "input_finished."  # parameters of analyses that repeat the time of their input
FILES = ("source_file", "content", "recogniser", "record")  # parameters of an ingested file, which the table of files shows
MODELS = (
    "checkpoint",
    "id",
    "revision",
    "quantisation",
    "family",
    "variant",
    "parent",
    "source_persona",
    "lr",
    "epochs",
    "seed",
    "n_layers",
    "n_heads",
    "n_kv_heads",
    "d_model",
    "vocab_size",
    "lora_r",
    "lora_alpha",
    "lora_dropout",
    "lora_targets",
)


def card(lake: Source, runs: Sequence[Manifest]) -> list[Section]:
    """The sections of the card, for at least one run."""
    made = [each for each in runs if each.kind != "ingest"]
    return [
        Section("Models", (_models(lake, runs), *_untrained(lake, runs)), 3),
        *_settings("Training (LoRA and its settings, as the training runs recorded them)", [each for each in runs if each.extractor in LORA]),
        *_settings("Sparse autoencoders trained here", [each for each in runs if each.extractor == "train-sae"]),
        Section("Data", tuple(_data(runs)), 3),
        *_settings("Decoding", [each for each in runs if each.extractor == "completions"]),
        *_settings("Extraction", [each for each in runs if each.kind == "extract" and each.extractor != "completions"]),
        *_settings("Analyses", [each for each in runs if each.kind == "analysis"]),
        Section("Execution", (_execution(runs, made),), 3),
        Section("Command lines", (_commands(runs),), 3),
        Section("Runs", (_runs(runs),), 3),
    ]


def values(found: Iterable[object]) -> str:
    """One value, or every value with the number of runs that have it; `missing` stands for one that was not recorded."""
    counted = Counter(_shown(value) for value in found)
    if not counted:
        return MISSING
    if len(counted) == 1:
        return next(iter(counted))
    return "; ".join(
        f"{value} ({number} {'run' if number == 1 else 'runs'})" for value, number in sorted(counted.items(), key=lambda each: (-each[1], each[0]))
    )


def _shown(value: object) -> str:
    """A value; text of white space, such as a marker's prefix, as one would type it."""
    if isinstance(value, str) and value and not value.strip():
        return json.dumps(value)
    return MISSING if value is None or value == "" else cell(value)


def _models(lake: Source, runs: Sequence[Manifest]) -> Block:
    rows = _checkpoints(lake, runs)
    if rows.is_empty():
        return Paragraph("No run of this report recorded a checkpoint.", missing=True)
    return listing([name.replace("_", " ") for name in MODELS], rows.rows())


def _checkpoints(lake: Source, runs: Sequence[Manifest]) -> pl.DataFrame:
    names = {each.run_id for each in runs}
    rows = lake.select(f"select run_id, {', '.join(MODELS)} from checkpoints")
    return rows.filter(pl.col("run_id").is_in(list(names))).drop("run_id").unique().sort(pl.all(), nulls_last=True)


def _untrained(lake: Source, runs: Sequence[Manifest]) -> list[Block]:
    """Which checkpoints were trained for a persona while neither their adapter nor a training run in the lake says how."""
    rows = _checkpoints(lake, runs)
    trained = rows.filter(pl.col("source_persona").is_not_null() & pl.col("lora_r").is_null())["checkpoint"].unique().sort().to_list()
    known = {each.checkpoint for each in runs if each.extractor in LORA}
    without = [name for name in trained if name not in known]
    if not without:
        return []
    named = ", ".join(without[:NAMED]) + (f" and {len(without) - NAMED} more" if len(without) > NAMED else "")
    return [
        Paragraph(
            f"LoRA rank, alpha, dropout and targets are missing for {named}: neither an adapter nor a training run in this lake states them.", missing=True
        )
    ]


def _settings(title: str, runs: Sequence[Manifest]) -> list[Section]:
    """A row per extractor and parameter with its values and where they came from; no section where there is no run."""
    if not runs:
        return []
    rows = []
    for extractor in dict.fromkeys(each.extractor for each in runs):
        of_it = [each for each in runs if each.extractor == extractor]
        parameters = [{parameter.name: parameter for parameter in each.parameters} for each in of_it]
        for name in dict.fromkeys(name for found in parameters for name in found if not name.startswith(STAMP)):
            given = [found.get(name) for found in parameters]
            came = values(sorted({parameter.origin for parameter in given if parameter is not None}))
            # A parameter that was left unset is recorded as such, which is not the same as one that no run recorded.
            shown = ["unset" if parameter and parameter.value is None else parameter and parameter.value for parameter in given]
            rows.append((extractor, len(of_it), name, values(shown), ", ".join(part.split(" (")[0] for part in came.split("; "))))
    return [Section(title, (listing(("run by", "runs", "setting", "value", "set by"), rows),), 3)]


def _data(runs: Sequence[Manifest]) -> list[Block]:
    blocks: list[Block] = []
    sets = {(each.prompt_set, each.prompt_set_hash) for each in runs if each.kind == "extract" and each.prompt_set}
    used = [(name, digest, values(sorted({each.extractor for each in runs if each.prompt_set == name})).replace(" (1 run)", "")) for name, digest in sets]
    if used:
        blocks.append(listing(("prompt set", "hash", "used by"), sorted(used, key=str)))
    elif any(each.kind == "extract" for each in runs):
        blocks.append(Paragraph("Prompt sets are missing: no run recorded one.", missing=True))
    files = [each for each in runs if each.kind == "ingest"]
    if files:
        rows = [(*(_parameter(each, name) for name in ("source_file", "record", "content")), each.run_id) for each in files]
        blocks.append(listing(("file", "what it is", "content hash", "run"), sorted(rows, key=str)))
        blocks.append(
            Paragraph(
                "Decoding, hardware, versions and commits of ingested files are those of their publication and missing here; "
                "the card says how they were loaded."
            )
        )
    return blocks


def _parameter(run: Manifest, name: str) -> object:
    return next((each.value for each in run.parameters if each.name == name), None)


def _execution(runs: Sequence[Manifest], made: Sequence[Manifest]) -> Block:
    """Facts of all runs; those of a forward pass are asked of the runs that made one."""
    forward = [each for each in made if each.kind in ("extract", "train")]
    facts: list[tuple[str, Sequence[Manifest], Callable[[Manifest], object]]] = [
        ("seed", made, lambda each: each.seed),
        ("float type", forward, lambda each: each.dtype),
        ("attention implementation", [each for each in forward if each.kind == "extract"], lambda each: each.attention_implementation),
        ("device", forward, lambda each: each.device),
        ("device memory, GiB", forward, lambda each: each.device_memory_gib),
        ("operating system", runs, lambda each: each.os),
        ("Python", runs, lambda each: each.python),
        ("commit of personascope", runs, lambda each: each.git_commit),
        ("uncommitted changes", runs, lambda each: each.git_dirty),
    ]
    rows: list[tuple[str, str]] = [(name, values(get(each) for each in asked)) for name, asked, get in facts if asked]
    packages = sorted({name for each in runs for name in each.packages})
    rows += [(f"version of {name}", values(each.packages.get(name) for each in runs)) for name in packages]
    by_kind: dict[str, float] = {}
    for each in runs:
        by_kind[each.kind] = by_kind.get(each.kind, 0.0) + each.seconds
    rows.append(("wall time, seconds", f"{sum(by_kind.values()):.1f} ({', '.join(f'{kind} {seconds:.1f}' for kind, seconds in sorted(by_kind.items()))})"))
    rows.append(("first run started, UTC", f"{min(each.started for each in runs):%Y-%m-%d %H:%M:%S}"))
    rows.append(("last run finished, UTC", f"{max(each.finished for each in runs):%Y-%m-%d %H:%M:%S}"))
    return Cells(("fact", "value"), tuple(rows))


def _commands(runs: Sequence[Manifest]) -> Block:
    counted = Counter(each.command for each in runs)
    return listing(("command", "runs"), [(command, number) for command, number in sorted(counted.items(), key=lambda each: (-each[1], each[0]))])


def _runs(runs: Sequence[Manifest]) -> Block:
    columns = ("run", "kind", "study", "subject", "seconds", "rows", "commit", "changes", "MLflow experiment", "MLflow run")
    return listing(
        columns,
        [
            (
                each.run_id,
                each.kind,
                each.study or "none",
                each.subject or each.checkpoint or "none",
                f"{each.seconds:.1f}",
                f"{each.n_rows:,}",
                each.git_commit and each.git_commit[:SHORT_COMMIT],
                each.git_dirty,
                each.mlflow and each.mlflow.experiment,
                each.mlflow and each.mlflow.run_id,
            )
            for each in runs
        ],
    )
