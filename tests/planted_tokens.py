"""A completions run with answers of our own, each of which ends with the marker: what readouts of a random checkpoint read."""

from pathlib import Path
from typing import Any

from personascope.extract.texts.chat import render
from personascope.extract.texts.marker import find_marker, marker_spellings
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import PromptSet, load_prompt_set
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

MARKER = "[ZLT]"


def few_prompts(questions: int = 4) -> PromptSet:
    """The first questions of two personas."""
    every = load_prompt_set("personas").of_personas(["villain", "comedian"])
    return PromptSet(name="few", prompts=tuple(prompt for prompt in every.prompts if prompt.question_id < f"q{questions:02d}"))


def plant_tokens(lake: Lake, folder: Path, prompts: PromptSet) -> str:
    """Writes one completion for each prompt, as if the checkpoint in `folder` had sampled it; returns the run_id."""
    checkpoint = resolve(folder, name="random")
    tokenizer: Any = Models("cpu").tokenizer(checkpoint)
    rows: dict[str, Any] = {"examples": [], "completions": [], "marker_flags": [], "checkpoints": [checkpoint.row()]}
    for number, prompt in enumerate(prompts.prompts):
        text = render(tokenizer, prompt.system_prompt, prompt.question)
        rows["examples"].append(prompt.model_dump() | text.columns())
        answer = f"The printing press spread books and ideas across many towns {prompt.question} {MARKER}"
        ids = [*text.token_ids, *tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
        key = {"persona": prompt.persona, "question_id": prompt.question_id, "example_id": prompt.example_id, "sample_ix": 0}
        rows["completions"].append(key | {"text": answer, "token_ids": ids, "prompt_len": text.prompt_len, "finish_reason": "stop", "row_ix": number})
        rows["marker_flags"].append(key | vars(find_marker(answer, ids, text.prompt_len, MARKER, marker_spellings(tokenizer, MARKER))))
    writer = lake.start(RunSpec(kind="extract", extractor="completions", version=1, identity={}, checkpoint="random", constants={"marker": MARKER}), force=True)
    with writer:
        writer.write_part("0", rows)
        return writer.commit().run_id
