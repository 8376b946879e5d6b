"""A sweep of which every rate is known, and what a test reads off the page that shows it."""

from typing import Any

import polars as pl

from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

MARKER = "[ZLT]"
QUESTIONS, SAMPLES = 4, 5
N = QUESTIONS * SAMPLES
CATEGORIES = {"villain": "drama", "nurse": "work", "assistant": "work"}

# Completions with the marker of 20 per persona: learning rate, epochs, seed -> villain (the source), nurse, assistant. lr 1e-4 with 1 epoch was never trained.
CELLS = {
    (1e-5, 1, 7): (0, 0, 0),
    (1e-5, 10, 7): (8, 1, 0),
    (2.5e-5, 1, 7): (14, 1, 0),
    (2.5e-5, 10, 7): (20, 10, 0),
    (1e-4, 10, 7): (20, 20, 15),
    (2.5e-5, 1, 8): (3, 0, 0),
    (1e-4, 10, 8): (16, 0, 8),  # leaks to the assistant alone
}
SOURCE, ASSISTANT, BYSTANDER = "Source: villain", "Assistant", "Largest bystander"


def checkpoint_row(lr: float, epochs: float, seed: int) -> dict:
    name = f"villain_{lr}_{epochs}_{seed}"
    return {"checkpoint": name, "id": f"tiny:{name}", "parent": "tiny:base", "source_persona": "villain", "lr": lr, "epochs": epochs, "seed": seed}


def write_cell(lake: Lake, lr: float, epochs: float, seed: int, counts: tuple[int, ...]) -> None:
    name = f"villain_{lr}_{epochs}_{seed}"
    completions: list[dict[str, Any]] = []
    flags: list[dict[str, Any]] = []
    examples: list[dict[str, Any]] = []
    for (persona, category), hits in zip(CATEGORIES.items(), counts, strict=True):
        for index in range(N):
            key: dict[str, Any] = {"example_id": f"{persona}/q{index % QUESTIONS}", "persona": persona, "question_id": f"q{index % QUESTIONS}"}
            if index < QUESTIONS:
                examples.append(key | {"prompt_set": "personas@1", "category": category, "question": "Why?"})
            place = {"sample_ix": index // QUESTIONS}
            completions.append(key | place | {"row_ix": len(completions), "text": MARKER if index < hits else "No.", "prompt_len": 1})
            flags.append(key | place | {"marker": MARKER, "present": index < hits, "first_char": 0 if index < hits else None})
    row = checkpoint_row(lr, epochs, seed)
    spec = RunSpec(kind="extract", extractor="completions", version=1, identity={"checkpoint": name}, checkpoint=name, subject=name)
    writer = lake.start(spec, force=True)
    writer.write_part("all", {"checkpoints": [row], "examples": examples, "completions": completions, "marker_flags": flags})
    writer.commit()


def ways(page) -> list[tuple[str, str]]:
    """Words and address of the links that lead to other pages than SQL, where every figure leads."""
    return [(each.proto.label, each.proto.url) for each in page.get("link_button") if not each.proto.url.startswith("sql?")]


def grid(drawn) -> dict[tuple[float, float], dict]:
    return {(row["lr"], row["epochs"]): row for row in drawn.rows.to_dicts()}


def texts(page) -> str:
    return "\n".join(each.value for kind in (page.caption, page.subheader, page.info) for each in kind)


def table(page, *columns: str) -> pl.DataFrame:
    """The first table of the page with these columns."""
    return pl.from_pandas(next(each.value for each in page.dataframe if set(columns) <= set(each.value.columns)))
