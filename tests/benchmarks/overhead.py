"""Processor time of whole extractor runs beside bare forward passes over the same tokens, one table; run it, it is not a test.

A randomly initialised model of small width with a vocabulary of 152,064, or `--checkpoint FOLDER`, is read by every extractor that only runs forward passes,
each on `--examples` prompts, or as many completions of our own:
- bare: `model.get_decoder()` over the batches the run is cut into, padding included, and nothing else: no logits, no rows;
- run: everything between the typed request and the committed run: rendering, self-checks, forward passes, logits, rows, Parquet, commit;
- logits: the matrix products with the vocabulary that the readout itself asks for (the logit lens reads every layer), without which it cannot be had.
Imports and loading are apart: weights are loaded before, and every extractor runs once on a few prompts first. `--profile NAME` prints where a run spends.
"""

import argparse
import cProfile
import json
import pstats
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from personascope.extract.job import Extractor, Job, parts_of, run
from personascope.extract.registry import extractor, resolve_settings
from personascope.extract.texts.chat import render
from personascope.extract.texts.marker import find_marker, marker_spellings
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import Prompt, PromptSet, load_prompt_set
from personascope.ingest.tasks import Task, TaskQuestion
from personascope.ingest.tiny.tokenizer import train_tokenizer
from personascope.ingest.weights.checkpoints import Checkpoint, resolve
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

AIM = 1.3
MARKER = "[ZLT]"
ANSWER = " The printing press spread books and ideas across many towns and schools."
READS: Mapping[str, dict[str, Any]] = {
    "activations": {},
    "attention": {},
    "attributions": {},
    "capability": {"form": "raw"},
    "entropy": {"form": "chat"},
    "features": {},
    "logit_lens": {},
    "projections": {},
}


def main() -> None:
    """Print the table to stderr and one JSON line to stdout."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", help="folder of a real model (default: a random one)")
    parser.add_argument("--examples", type=int, default=500)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--width", type=int, default=384)
    parser.add_argument("--vocabulary", type=int, default=152_064)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--only", nargs="*", default=list(READS), help="extractors to run")
    parser.add_argument("--profile", action="store_true", help="print where each run spends its time, which makes it slower")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), options)
    show(rows, options)
    print(json.dumps(vars(options) | {"rows": rows}))


def measure(folder: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row of figures for every extractor."""
    source = Path(options.checkpoint) if options.checkpoint else random_model(folder / "model", options)
    checkpoint, models = resolve(source, name="measured"), Models("cpu", "float32")
    model = models.load(checkpoint).model
    many, few = prompts(options.examples), prompts(12)
    rows = []
    for name in options.only:
        asked = READS[name]
        for number, texts in enumerate((few, many)):
            lake = Lake.open(folder / f"lake-{name}-{number}")
            if name == "features":
                trained = build("train-sae", lake, checkpoint, models, few, {"layers": [-1], "steps": 5, "n_features": 512, "k": 8})
                asked = {"sae": run(trained)}
            if name == "projections":
                run(build("activations", lake, checkpoint, models, personas(), {"strata": ["last"]}))
                run(build("directions", lake, checkpoint, models, None, {}))
            if name == "capability":
                asked = asked | {"task": str(task_file(folder, texts))}
            tokens = completions(lake, checkpoint, models, texts) if name in ("attention", "projections") else None
            reader = build(name, lake, checkpoint, models, None if tokens or name == "capability" else texts, asked, tokens)
            rounds = noting(reader)
            profile = cProfile.Profile() if options.profile and number else None
            whole = seconds(lambda reader=reader, profile=profile: profile.runcall(run, reader) if profile else run(reader))  # type: ignore[misc]
            if profile:
                pstats.Stats(profile, stream=sys.stderr).sort_stats("tottime").print_stats(25)
        batches = [sequences(name, [item.value for item in batch]) for items in rounds for batch in parts_of(reader, items)]
        bare = seconds(partial(forward, model, batches))
        read = reads_logits(name, reader, sum(map(len, batches)))
        logits = seconds(partial(products, model, read))
        rows.append({"extractor": name, "examples": sum(map(len, batches)), "bare": bare, "run": whole, "logits": logits})
    return rows


def build(
    name: str, lake: Lake, checkpoint: Checkpoint, models: Models, texts: PromptSet | None, asked: dict[str, Any], tokens: str | None = None
) -> Extractor[Any]:
    kind = extractor(name)
    settings, _ = resolve_settings(kind, {"command line": asked})
    return kind(settings, Job(lake, checkpoint, models, prompts=texts, tokens_from=tokens, say=lambda line: None))


def noting(reader: Extractor[Any]) -> list[list[Any]]:
    """A list that takes the items of every round on their way to the loop."""
    rounds: list[list[Any]] = []
    prepare, next_round = reader.prepare, reader.next_round

    def prepared() -> Any:
        found = prepare()
        rounds.append(list(found[0]))
        return found

    def asked(*given: Any) -> Any:
        rounds.append(list(next_round(*given)))
        return rounds[-1]

    reader.prepare, reader.next_round = prepared, asked  # type: ignore[method-assign, assignment]
    return rounds


def sequences(name: str, values: list[Any]) -> list[list[int]]:
    """The tokens of a batch of items as the extractor reads them."""
    if name == "capability":
        return [[*prompt, *choice] for _, prompt, choices in values for choice in choices]
    return [list(value.token_ids) for value in values]


@torch.inference_mode()
def forward(model: Any, batches: list[list[list[int]]]) -> None:
    for batch in batches:
        ids = torch.zeros((len(batch), max(map(len, batch))), dtype=torch.long)
        for row, tokens in enumerate(batch):
            ids[row, : len(tokens)] = torch.tensor(tokens)
        model.get_decoder()(input_ids=ids, use_cache=False)


def reads_logits(name: str, reader: Extractor[Any], count: int) -> int:
    """Positions whose logits a readout is made of."""
    layers = reader.job.checkpoint.n_layers
    if name == "capability":
        asked: Any = reader
        return sum(len(tokens) for question in asked.task.questions for tokens in asked._tokens(question)[1])
    return {"logit_lens": count * (layers + 1), "attributions": count}.get(name, 0)


@torch.inference_mode()
def products(model: Any, rows: int) -> None:
    weight = model.get_output_embeddings().weight
    states = torch.randn(256, weight.shape[1])
    for _ in range(rows // 256):
        states @ weight.T


def prompts(count: int) -> PromptSet:
    """The shipped echo and role-focus prompts under several numbers, `count` of them."""
    source = [*load_prompt_set("echo").prompts, *load_prompt_set("role-focus").prompts]
    many = [
        Prompt(
            example_id=f"p{number:05d}",
            persona="none",
            question_id=f"p{number:05d}",
            question=f"{source[number % len(source)].question} {number}",
            target="cat",
        )
        for number in range(count)
    ]
    return PromptSet(name=f"measured{count}", prompts=tuple(many))


def personas() -> PromptSet:
    """Prompts of two personas, that directions are made of."""
    return load_prompt_set("personas").of_personas(["villain", "assistant"])


def task_file(folder: Path, texts: PromptSet) -> Path:
    """A task of one question for every four prompts, each with four choices."""
    path = folder / f"task-{len(texts.prompts)}.jsonl"
    task = Task(
        name="measured",
        questions=tuple(
            TaskQuestion(question_id=each.question_id, question=each.question, choices=("a cat", "a dog of the house", "some rain", "the sun"), answer=0)
            for each in texts.prompts[::4]
        ),
    )
    lines = [
        {"id": each.question_id, "question": each.question, "choices": {"text": list(each.choices), "label": list("ABCD")}, "answerKey": "A"}
        for each in task.questions
    ]
    path.write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    return path


def completions(lake: Lake, checkpoint: Checkpoint, models: Models, texts: PromptSet) -> str:
    """A completions run with an answer of our own to every prompt, each with the marker at its end."""
    tokenizer = models.tokenizer(checkpoint)
    spellings = marker_spellings(tokenizer, MARKER)
    tables: dict[str, list[dict[str, Any]]] = {"examples": [], "completions": [], "marker_flags": [], "checkpoints": [checkpoint.row()]}
    for number, prompt in enumerate(texts.prompts):
        text = render(tokenizer, prompt.system_prompt, prompt.question)
        tables["examples"].append(prompt.model_dump() | text.columns())
        answer = f"{ANSWER} {number} {MARKER}"
        ids = [*text.token_ids, *tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
        key = {"persona": prompt.persona, "question_id": prompt.question_id, "example_id": prompt.example_id, "sample_ix": 0}
        tables["completions"].append(key | {"row_ix": number, "text": answer, "token_ids": ids, "prompt_len": text.prompt_len, "finish_reason": "stop"})
        tables["marker_flags"].append(key | vars(find_marker(answer, ids, text.prompt_len, MARKER, spellings)))
    identity = {"texts": texts.content_hash}
    writer = lake.start(
        RunSpec(kind="extract", extractor="completions", version=1, identity=identity, checkpoint="measured", subject="measured", constants={"marker": MARKER})
    )
    assert writer is not None
    writer.write_part("0", tables)
    return writer.commit().run_id


def random_model(folder: Path, options: argparse.Namespace) -> Path:
    texts = [each.question for name in ("echo", "role-focus") for each in load_prompt_set(name).prompts]
    tokenizer = train_tokenizer([*texts, ANSWER, f" {MARKER} " * 20] * 3, 900)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        "qwen2",
        vocab_size=options.vocabulary,
        hidden_size=options.width,
        intermediate_size=3 * options.width,
        num_hidden_layers=options.layers,
        num_attention_heads=options.width // 64,
        num_key_value_heads=2,
        max_position_embeddings=512,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    fill_vocabulary(folder / "tokenizer.json", options.vocabulary)
    AutoTokenizer.from_pretrained(folder)
    return folder


def fill_vocabulary(file: Path, size: int) -> None:
    """Gives a tokenizer as many tokens as the model embeds, those behind its own without a text that would become them."""
    document = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = document["model"]["vocab"]
    vocabulary |= {f"<unused{number}>": number for number in range(max(vocabulary.values()) + 1, size)}
    file.write_text(json.dumps(document), encoding="utf-8")


def seconds(call: Callable[[], Any]) -> float:
    """Processor time of one call, over all threads."""
    started = time.process_time()
    call()
    return time.process_time() - started


def show(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    table = Table(title=f"{options.checkpoint or 'random model'}, {options.threads} thread(s), seconds of processor time")
    for name in ("extractor", "sequences", "bare", "logits it reads", "run", "run / bare", "run / (bare + logits)"):
        table.add_column(name, justify="left" if name == "extractor" else "right")
    for row in rows:
        ratios = row["run"] / row["bare"], row["run"] / (row["bare"] + row["logits"])
        table.add_row(
            row["extractor"],
            f"{row['examples']}",
            *(f"{row[name]:.2f}" for name in ("bare", "logits", "run")),
            *(f"{each:.2f}{'' if each <= AIM else ' !'}" for each in ratios),
        )
    Console(stderr=True, width=130).print(table)


if __name__ == "__main__":
    main()
