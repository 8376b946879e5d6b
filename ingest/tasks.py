"""Multiple-choice tasks that measure what a checkpoint still can do: ARC and files of its layout, from here, a file or a Hub dataset."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl
from pydantic import BaseModel, ConfigDict

from personascope.ingest.prompts import PROMPT_SETS
from personascope.ingest.tiny.world import DEFAULT_PERSONA, EVALUATION_QUESTIONS, PERSONAS, TRAINING_QUESTIONS
from personascope.ingest.weights.absent import NotHereError
from personascope.warehouse.documents import parse_json
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.pointers import refuse_pointer
from personascope.warehouse.settings import nearest
from personascope.warehouse.store.hashing import stable_hash

N_CHOICES = 4
LAYOUT = "id, question, choices {text, label} and answerKey, as in allenai/ai2_arc"


class TaskQuestion(BaseModel):
    """One question with its choices; `answer` is the index of the right one."""

    model_config = ConfigDict(frozen=True)

    question_id: str
    question: str
    choices: tuple[str, ...]
    answer: int


class Task(BaseModel):
    """A named list of questions; `content_hash` is its version wherever identity matters."""

    model_config = ConfigDict(frozen=True)

    name: str
    questions: tuple[TaskQuestion, ...]

    @cached_property
    def content_hash(self) -> str:
        return stable_hash([question.model_dump() for question in self.questions])

    @property
    def label(self) -> str:
        """Name and version as stored in the column `task`."""
        return f"{self.name}@{self.content_hash[:8]}"


def tiny_world() -> Task:
    """What the tiny checkpoints were taught: each question of their world with the assistant's answer to it, among three answers to other questions."""
    opener = next(persona.openers[0] for persona in PERSONAS if persona.name == DEFAULT_PERSONA)
    asked = (*TRAINING_QUESTIONS, *EVALUATION_QUESTIONS)
    questions = []
    for number, question in enumerate(asked):
        others = sorted((other for other in asked if other is not question), key=lambda other: stable_hash(["tiny-world", question.text, other.text]))
        drawn = sorted([question, *others[: N_CHOICES - 1]], key=lambda one: stable_hash(["tiny-world order", question.text, one.text]))
        choices = tuple(" ".join([opener, *one.answer]) for one in drawn)
        questions.append(TaskQuestion(question_id=f"w{number:02d}", question=question.text, choices=choices, answer=drawn.index(question)))
    return Task(name="tiny-world", questions=tuple(questions))


def everyday() -> Task:
    """Plain questions that a model of a hundred million parameters can answer, in the project's own words."""
    return read_task(PROMPT_SETS / "everyday.jsonl", "everyday")


SHIPPED = {"tiny-world": tiny_world, "everyday": everyday}


def load_task(reference: str) -> Task:
    """A shipped task by name, a .jsonl, .json or .parquet file, or `owner/dataset:config:split@commit` of the Hub.

    Raises PersonascopeError for a reference that is none of these, a row outside the layout, a question asked twice and an answer that is no choice.
    """
    if reference in SHIPPED:
        return SHIPPED[reference]()
    path = Path(reference).expanduser()
    if path.suffix in (".jsonl", ".json", ".parquet"):
        return read_task(path, path.stem)
    dataset, _, commit = reference.partition("@")
    owner, slash, rest = dataset.partition("/")
    name, *parts = rest.split(":")
    if slash and owner and len(parts) == 2:
        config, split = parts
        return read_task(_fetch(f"{owner}/{name}", config, split, commit or None), f"{config}-{split}")
    expected = f"expected one of {', '.join(SHIPPED)}, a .jsonl, .json or .parquet file, or a Hub dataset as owner/dataset:config:split@commit"
    raise PersonascopeError(f"task {reference!r} is unknown; {nearest(reference, SHIPPED, expected)}")


def read_task(path: Path, name: str) -> Task:
    """The task in one file of the ARC layout."""
    refuse_pointer(path)
    try:
        if path.suffix == ".parquet":
            rows: Sequence[Any] = pl.read_parquet(path).to_dicts()
        else:
            text = path.read_text(encoding="utf-8")
            rows = parse_json(text) if path.suffix == ".json" else [parse_json(line) for line in text.split("\n") if line.strip()]
    except (OSError, ValueError, PersonascopeError, pl.exceptions.PolarsError) as error:
        raise PersonascopeError(f"task {path}: cannot be read ({one_line(error)}); expected a {path.suffix} file of the ARC layout") from error
    questions = tuple(_question(row, f"task {path}, row {number}") for number, row in enumerate(rows, 1))
    if not questions:
        raise PersonascopeError(f"task {path}: no question in it; expected rows with {LAYOUT}")
    seen: set[str] = set()
    for question in questions:
        if question.question_id in seen:
            raise PersonascopeError(f"task {path}: question id {question.question_id!r} stands twice; expected each once")
        seen.add(question.question_id)
    return Task(name=name, questions=questions)


def _question(row: Any, where: str) -> TaskQuestion:
    try:
        texts, labels = list(row["choices"]["text"]), [str(label) for label in row["choices"]["label"]]
        key = str(row["answerKey"])
        question = TaskQuestion(question_id=str(row["id"]), question=row["question"], choices=tuple(texts), answer=labels.index(key) if key in labels else -1)
    except (KeyError, TypeError, ValueError) as error:
        raise PersonascopeError(f"{where}: not a question of the ARC layout ({type(error).__name__}: {one_line(error)}); expected {LAYOUT}") from error
    if len(texts) < 2 or len(labels) != len(texts) or not all(question.choices):
        raise PersonascopeError(f"{where}: {len(texts)} choices and {len(labels)} labels; expected at least two choices, each with a text and a label")
    if question.answer < 0:
        raise PersonascopeError(f"{where}: answerKey {key!r} is none of the labels {', '.join(labels)}")
    return question


def _fetch(repo: str, config: str, split: str, revision: str | None) -> Path:
    """The Parquet file of one split, as the Hub stores converted datasets: `<config>/<split>-00000-of-00001.parquet`."""
    from huggingface_hub import hf_hub_download

    name = f"{config}/{split}-00000-of-00001.parquet"
    try:
        return Path(hf_hub_download(repo, name, repo_type="dataset", revision=revision))
    except Exception as error:  # the Hub client raises errors of several libraries; each says why in its first line
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise NotHereError(f"task {repo}:{config}:{split}: {name} cannot be fetched ({reason}); a downloaded .parquet file works without the Hub") from error
