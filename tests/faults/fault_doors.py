"""The doors that the hostile inputs knock at: every file and text that a command reads, each with good inputs to spoil."""

import contextlib
import io
import json
import shlex
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import polars as pl
import torch
import yaml
from fault_checkpoint import TEMPLATE, tiny_checkpoint
from fault_inputs import Door
from safetensors.torch import save_file

import gguf_files
from personascope.cli import app
from personascope.extract.brought import COLUMNS, SPELLINGS
from personascope.extract.texts.templates import template_of
from personascope.extract.weights.loading import load_model, load_tokenizer
from personascope.ingest.prompts import read_prompts
from personascope.ingest.published import ingest_published
from personascope.ingest.records.columns import ColumnNames
from personascope.ingest.records.files import GENERATIONS, open_records
from personascope.ingest.sae.files import load_sae
from personascope.ingest.tasks import read_task
from personascope.ingest.weights.checkpoints import resolve
from personascope.ingest.weights.gguf_families import configuration
from personascope.ingest.weights.gguf_file import open_gguf
from personascope.warehouse.asking.guard import Limits
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.claims.checking import look
from personascope.warehouse.claims.reading import read_claims
from personascope.warehouse.drawing import cells
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.transfer import export, import_runs
from personascope.warehouse.studies.reading import read_study, study_names, study_path

LONGEST_LINE = 20_000  # characters; systems end a command line somewhere, too
QUERIES = (
    "select run_id, kind, count(*) as n from runs group by all order by n desc",
    "from marker_rates select checkpoint, persona, rate, clustered_low where n > 10",
    "with t as (select unnest(range(10)) as x) select x, lag(x) over (order by x) from t",
    "pivot (select 1 as a, 'x' as b) on b using sum(a)",
    "select * from read_parquet('runs/*/runs.parquet')",
    "select list(struct_pack(a := 1, b := interval 1 day)), map {'a': timestamp 'infinity'}",
)
COMMANDS = (
    "sql 'select 1' -f csv",
    "views marker_rates",
    "runs list -f json",
    "check echo --model x",
    "studies show echo",
    "ingest published x",
    "report echo -o x",
)


def doors(folder: Path, rate_files: tuple[bytes, ...]) -> list[Door]:
    """Every door; `folder` holds what they need (a lake, a checkpoint), `rate_files` are published results."""
    lake = Lake.open(folder / "lake")
    warehouse = Warehouse(lake, Limits(2.0))
    full, adapter, sae = tiny_checkpoint(folder / "full"), _adapter(folder / "adapter", folder / "full"), _sae(folder / "sae")
    table = b"persona,system_prompt,question\npirate,Arr.,Where?\npirate,Arr.,Why?\nmonk,,Where?\n"
    lines = b"\n".join(json.dumps({"persona": "monk", "question": f"Q{n}?", "answer": "So.", "sample": n, "finish_reason": "stop"}).encode() for n in range(4))
    claims = tuple(_first_claims(study_path(name).with_suffix(".claims.yaml")) for name in ("echo", "lr-epochs", "sae-conditions"))
    studies = tuple(study_path(name).read_bytes() for name in study_names())
    as_json = tuple(json.dumps(yaml.safe_load(study)).encode() for study in studies)  # JSON is YAML, and its values can be exchanged one by one
    sample = {"id": "a", "epoch": 1, "input": "Why?", "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}]}
    answered = sample | {"output": {"choices": [{"message": {"role": "assistant", "content": "So."}, "stop_reason": "stop"}]}, "metadata": {"persona": "monk"}}
    question = {"id": "q", "question": "Why?", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}
    return [
        Door("sql", tuple(query.encode() for query in QUERIES), ".sql", lambda path: _ask(warehouse, path)),
        Door("prompts.csv", (table,), ".csv", read_prompts),
        Door("prompts.jsonl", (b"\n".join(_as_lines(table)),), ".jsonl", read_prompts),
        Door("completions.jsonl", (lines,), ".jsonl", _records),
        Door("completions.csv", (b"persona,question,answer\nmonk,Why?,So.\n",), ".csv", _records),
        Door("completions.eval", (_archive(json.dumps(answered).encode()),), ".eval", _records),
        Door("sample of a log", (json.dumps(answered).encode(),), ".json", _sample),
        Door("completions.parquet", (_parquet(lines),), ".parquet", _records),
        Door("published.json", rate_files, ".json", lambda path: _published(lake, path)),
        Door("published.csv", (b"condition,layer,cosine\na,1,0.5\n",), ".csv", lambda path: _published(lake, path)),
        Door("claims.yaml", claims, ".yaml", lambda path: look(lake, "own", read_claims(path)[:2])),
        Door("study.yaml", (*studies, *as_json), ".yaml", lambda path: read_study(str(path))),
        Door("task.jsonl", (json.dumps(question).encode(),), ".jsonl", lambda path: read_task(path, "own")),
        _file_of(full, "config.json", _resolved),
        _file_of(full, "tokenizer_config.json", _tokenizer),
        _file_of(full, "tokenizer.json", _tokenizer),
        _file_of(adapter, "adapter_config.json", _resolved),
        _file_of(full, "model.safetensors", _loaded),
        _file_of(sae, "cfg.json", load_sae),
        _file_of(sae, "sae_weights.safetensors", load_sae),
        Door("model.gguf", (gguf_files.write(folder / "good.gguf", gguf_files.model_of("qwen2")).read_bytes(),), ".gguf", _gguf),
        Door("chat template", (TEMPLATE.encode(),), ".jinja", _inside(full, "chat_template.jinja", _template)),
        *_run_doors(lake, folder),
        Door("command line", tuple(each.encode() for each in COMMANDS), ".txt", lambda path: _typed(path, lake)),
    ]


def _run_doors(lake: Lake, folder: Path) -> list[Door]:
    """What of a lake comes from elsewhere: a file of runs, a manifest, a table."""
    spec = RunSpec(kind="extract", extractor="completions", version=1, identity={}, checkpoint="m")
    with lake.start(spec, force=True) as writer:
        writer.write_part("0", {"completions": [{"example_id": "a/q0", "sample_ix": 0, "text": "So."}]})
        writer.commit()
    run, tar = folder / "run", folder / "runs.tar"
    shutil.copytree(lake.run_folder(spec.run_id), run)
    export(lake, [spec.run_id], tar)
    lake.delete(spec.run_id)
    return [
        Door("runs.tar", (tar.read_bytes(),), ".tar", lambda path: _imported(lake, path)),
        *(
            Door(f"{name} of a run", ((run / name).read_bytes(),), Path(name).suffix, _planted(lake, run, spec.run_id, name))
            for name in ("run.json", "completions.parquet")
        ),
    ]


def _imported(lake: Lake, path: Path) -> None:
    """A file of runs, which go again."""
    for run_id in import_runs(lake, path).new:
        lake.delete(run_id)
    if (left := list(lake.staging_folder.iterdir())) or lake.contents().strays:
        raise RuntimeError(f"left behind: {left}, {lake.contents().strays}")


def _planted(lake: Lake, run: Path, run_id: str, name: str) -> Callable[[Path], object]:
    """A reader of a lake in which one file of a run is the input; a run that is left out counts as a sentence."""

    def read(path: Path) -> object:
        place = lake.run_folder(run_id)
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(run, place)
        shutil.copyfile(path, place / name)
        try:
            if strays := lake.contents().strays:
                raise PersonascopeError(f"left out: {place}: {strays[0].reason}")
            return Warehouse(lake, Limits(2.0)).select("select count(distinct text), count(*) from completions").rows()
        finally:
            shutil.rmtree(place)

    return read


def _first_claims(path: Path) -> bytes:
    """The first three claims of a file, as JSON."""
    document = yaml.safe_load(path.read_text())
    return json.dumps(document | {"claims": document["claims"][:3]}, default=str).encode()


def _archive(sample: bytes) -> bytes:
    """A log of inspect_ai with one sample."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("header.json", "{}")
        archive.writestr("samples/a_epoch_1.json", sample)
    return file.getvalue()


def _parquet(lines: bytes) -> bytes:
    file = io.BytesIO()
    pl.read_ndjson(lines).write_parquet(file)
    return file.getvalue()


def _sample(path: Path) -> object:
    archive = path.with_suffix(".eval")
    archive.write_bytes(_archive(path.read_bytes()))
    return _records(archive)


def _gguf(path: Path) -> object:
    return configuration(open_gguf(path))


def _as_lines(table: bytes) -> list[bytes]:
    header, *rows = [line.split(b",") for line in table.splitlines()]
    return [json.dumps({name.decode(): value.decode() for name, value in zip(header, row, strict=True)}).encode() for row in rows]


def _ask(warehouse: Warehouse, path: Path) -> object:
    rows = warehouse.select(path.read_bytes().decode(errors="surrogateescape"))
    return cells.csv(rows.head(100)), cells.json(rows.head(100)), [cells.as_texts(row) for row in rows.head(100).iter_rows()]


def _records(path: Path) -> object:
    file = open_records(path, ColumnNames(COLUMNS, SPELLINGS, {}), GENERATIONS)
    return [record for record, _ in zip(file, range(1000), strict=False)]


def _published(lake: Lake, path: Path) -> object:
    outcome = ingest_published(lake, [path]).files[0]
    if outcome.status == "failed":
        raise PersonascopeError(outcome.reason)
    return outcome


def _file_of(folder: Path, name: str, read: Callable[[Path], object]) -> Door:
    """One file of a folder of several."""
    return Door(name, ((folder / name).read_bytes(),), Path(name).suffix, _inside(folder, name, read))


def _inside(good: Path, name: str, read: Callable[[Path], object]) -> Callable[[Path], object]:
    """A reader of a folder in which the file `name` is the input."""

    def read_folder(path: Path) -> object:
        place = path.with_suffix("") / good.name
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(good, place)
        shutil.copyfile(path, place / name)
        return read(place)

    return read_folder


def _resolved(place: Path) -> object:
    return resolve(place, name="x")


def _loaded(place: Path) -> object:
    return load_model(resolve(place, name="x"), "cpu", "float32", "sdpa")


def _tokenizer(place: Path) -> object:
    return load_tokenizer(resolve(place, name="x")).encode("Where are the maps?")


def _template(place: Path) -> object:
    return template_of(load_tokenizer(resolve(place, name="x")), "x")


def _typed(path: Path, lake: Lake) -> object:
    """A command line: a mistake in it is told by the command's own parser, which counts as a sentence."""
    text = path.read_bytes()[:LONGEST_LINE].decode(errors="replace")
    try:
        arguments = shlex.split(text)[:50]
    except ValueError:
        arguments = text.split()[:50]
    if not arguments or arguments[0] in ("app", "demo", "run", "extract"):  # these would do hours of work
        return None
    with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())), contextlib.redirect_stderr(io.StringIO()), contextlib.chdir(lake.root):
        try:
            app(args=[*arguments, "--lake", str(lake.root)], prog_name="personascope")
        except SystemExit:
            return None
    return None


def _adapter(folder: Path, base: Path) -> Path:
    """A LoRA adapter of one matrix on that model."""
    folder.mkdir()
    config = {"peft_type": "LORA", "base_model_name_or_path": str(base), "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    name = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file({f"{name}.lora_A.weight": torch.zeros(2, 8), f"{name}.lora_B.weight": torch.zeros(8, 2)}, folder / "adapter_model.safetensors")
    return folder


def _sae(folder: Path) -> Path:
    """An autoencoder in the form of SAELens."""
    folder.mkdir()
    config = {"architecture": "standard", "d_in": 8, "d_sae": 16, "hook_name": "blocks.1.hook_resid_post", "dtype": "float32", "apply_b_dec_to_input": True}
    (folder / "cfg.json").write_text(json.dumps(config | {"normalize_activations": "none"}))
    weights = {"W_enc": torch.ones(8, 16), "W_dec": torch.ones(16, 8), "b_enc": torch.zeros(16), "b_dec": torch.zeros(8)}
    save_file(weights, folder / "sae_weights.safetensors")
    return folder
