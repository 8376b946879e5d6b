"""Prompt sets: named, versioned lists of examples, shipped here, read from a file or kept in the lake."""

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from personascope.ingest.records.columns import ColumnNames
from personascope.ingest.records.doubts import Doubts
from personascope.ingest.records.files import TABLES, open_records
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import Parameter, nearest, short
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.lake import PATIENCE, Lake
from personascope.warehouse.store.manifest import RunSpec

PROMPT_SETS = Path(__file__).with_name("prompt_sets")

COLUMNS = ("persona", "question", "system_prompt", "condition", "category", "question_id", "prompt_form", "target")
TEXTS = ("question", "system_prompt", "target")
"""Columns whose white space counts: it makes other tokens."""
CATEGORY_COLUMNS = ("category", "question", "question_id")
SPELLINGS = {"system": "system_prompt", "prompt": "question", "prompt_index": "question_id"}
NO_PERSONA = "none"
NO_SYSTEM_TURN = "<no system turn>"
"""System prompt of an example without any system turn, also where the chat template would insert one by itself."""
SYSTEM_CELLS: dict[str, str | None] = {"<template default>": None, "<empty>": ""}
"""What a cell says of the system message, besides its text: none is given and the chat template decides (as an empty cell does), or one without text."""
ALL_FORMS = "all"
"""What views call rows of all phrasings together."""
LOADER_VERSION = 1


class Prompt(BaseModel):
    """One example before any tokenizer has seen it: a system message (None: the chat template decides; NO_SYSTEM_TURN: no system turn) and a question."""

    model_config = ConfigDict(frozen=True)

    example_id: str
    persona: str
    question_id: str
    question: str
    system_prompt: str | None = None
    condition: str | None = None
    category: str | None = None
    prompt_form: str | None = None
    target: str | None = None


class PromptSet(BaseModel):
    """A named list of examples; `content_hash` is its version wherever identity matters."""

    model_config = ConfigDict(frozen=True)

    name: str
    prompts: tuple[Prompt, ...]
    notes: tuple[str, ...] = ()
    """What a reader of the file it came from should know."""

    @cached_property
    def content_hash(self) -> str:
        return stable_hash([prompt.model_dump() for prompt in self.prompts])

    @property
    def label(self) -> str:
        """Name and version as stored in the column `prompt_set`."""
        return f"{self.name}@{self.content_hash[:8]}"

    @property
    def personas(self) -> list[str]:
        return list(dict.fromkeys(prompt.persona for prompt in self.prompts))

    @property
    def categories(self) -> list[str]:
        return list(dict.fromkeys(prompt.category for prompt in self.prompts if prompt.category))

    def of_personas(self, personas: list[str] | None) -> "PromptSet":
        """The examples of these personas; raises PersonascopeError for a persona the set does not have."""
        if personas is None:
            return self
        for persona in personas:
            if persona not in self.personas:
                raise PersonascopeError(f"persona {persona!r} is not in prompt set {self.label}; {nearest(persona, self.personas)}")
        # Made anew: `model_copy` would take the hash of all prompts along, where it has been asked for.
        return PromptSet(name=self.name, prompts=tuple(prompt for prompt in self.prompts if prompt.persona in personas), notes=self.notes)


def cross(name: str, system_prompts: dict[str, str | None], questions: list[str], prefix: str = "q") -> PromptSet:
    """Every persona with every question; question ids are `q00`, `q01`, ... in the order given."""
    return PromptSet(
        name=name,
        prompts=tuple(
            Prompt(
                example_id=f"{persona}/{prefix}{index:02d}",
                persona=persona,
                question_id=f"{prefix}{index:02d}",
                question=question,
                system_prompt=system_prompt,
            )
            for persona, system_prompt in system_prompts.items()
            for index, question in enumerate(questions)
        ),
    )


def _personas() -> PromptSet:
    from personascope.ingest.tiny.world import EVALUATION_QUESTIONS, PERSONAS

    return cross("personas", {persona.name: persona.system_prompt for persona in PERSONAS}, [question.text for question in EVALUATION_QUESTIONS])


def _personas_training() -> PromptSet:
    from personascope.ingest.tiny.world import PERSONAS, TRAINING_QUESTIONS

    system_prompts: dict[str, str | None] = {persona.name: persona.system_prompt for persona in PERSONAS}
    return cross("personas-training", system_prompts, [question.text for question in TRAINING_QUESTIONS], prefix="t")


def _roles() -> PromptSet:
    from personascope.ingest.roles import roles

    return roles()


def _from_file(name: str) -> PromptSet:
    return read_prompts(PROMPT_SETS / f"{name}.csv")


SHIPPED: dict[str, Callable[[], PromptSet]] = {
    **{file.stem: partial(_from_file, file.stem) for file in sorted(PROMPT_SETS.glob("*.csv"))},
    "personas": _personas,
    "personas-training": _personas_training,
    "roles": _roles,
}


def load_prompt_set(reference: str, lake: Lake | None = None) -> PromptSet:
    """The prompt set of that name (shipped, or brought into the lake by `ingest prompts`) or in that CSV file."""
    if reference in SHIPPED:
        return SHIPPED[reference]()
    if Path(reference).suffix.casefold() in TABLES:
        return read_prompts(Path(reference))
    if lake is not None and (found := _from_lake(lake, reference)) is not None:
        return found
    expected = f"expected one of {', '.join(SHIPPED)}, a set brought in by `ingest prompts`, or a {', '.join(TABLES)} file"
    raise PersonascopeError(f"prompt set {reference!r} is unknown; {nearest(reference, SHIPPED, expected)}")


def read_prompts(path: Path, name: str | None = None) -> PromptSet:
    """A prompt set from a CSV, TSV, JSON lines or Parquet file of one of two shapes; raises PersonascopeError naming file, line and column.

    - With the columns persona and question, and optionally the others of COLUMNS. Rows without a question_id get one by their question, so that a
      question keeps its id under every persona.
    - Without personas, with CATEGORY_COLUMNS (prompt and prompt_index are read as question and question_id): prompts of several categories that pair by
      question_id. Where the file has no such column nothing pairs, so every row gets an id of its own. The persona is NO_PERSONA.

    A system_prompt of `<template default>`, `<empty>` or `<no system turn>` says that no message is given, one without text, or that no system turn is written.
    Questions, system prompts and targets keep the white space around them, which makes other tokens; names do not.
    """
    file = open_records(path, ColumnNames(COLUMNS, SPELLINGS))
    by_category = "persona" not in file.columns
    for column in CATEGORY_COLUMNS[:2] if by_category else COLUMNS[:2]:
        if column not in file.columns:
            raise PersonascopeError(
                f"{path}: column {column!r} is missing; expected some of {', '.join(COLUMNS)}, or without personas {', '.join(CATEGORY_COLUMNS)}; "
                f"found {', '.join(file.header) or 'nothing'}"
            )
    prompts: list[Prompt] = []
    numbers: dict[str, int] = {}
    seen: dict[str, str] = {}
    asked: dict[tuple[str | None, ...], tuple[str, str]] = {}
    doubts = Doubts()
    for place, row in file:
        values = {column: _cell(path, place, column, row.get(column)) for column in COLUMNS}
        system = values["system_prompt"] or ""
        values["system_prompt"] = SYSTEM_CELLS.get(system.strip(), NO_SYSTEM_TURN if system.strip() == NO_SYSTEM_TURN else values["system_prompt"])
        key = _category_key(path, place, values, len(prompts), "question_id" in file.columns) if by_category else _persona_key(path, place, values, numbers)
        example_id = "/".join(part for part in key if part)
        if example_id in seen:
            grain = "category and question_id" if by_category else "persona, condition, form and question"
            raise PersonascopeError(f"{path}, {place}: {example_id} repeats {seen[example_id]}; expected one row per {grain}")
        seen[example_id] = place
        refuse_form(values["prompt_form"], f"{path}, {place}: ")
        prompt = Prompt.model_validate(values | {"persona": values["persona"] or NO_PERSONA, "example_id": example_id, "question_id": key[-1]})
        question, before = asked.setdefault((prompt.category if by_category else None, prompt.prompt_form, prompt.question_id), (prompt.question, place))
        if question != prompt.question:
            raise PersonascopeError(
                f"{path}, {place}: question_id {prompt.question_id!r} asks {short(prompt.question)} and, on {before}, {short(question)}; expected one question "
                "per question_id, since comparisons pair by it"
            )
        prompts.append(prompt)
        doubts.add(prompt.persona, prompt.condition, None if by_category else prompt.system_prompt, prompt.question_id, prompt.question)
    if not prompts:
        raise PersonascopeError(f"{path}: no rows; expected at least one prompt")
    return PromptSet(name=name or path.stem, prompts=_in_order(prompts), notes=(*file.notes, *_padded(path, prompts), *doubts.notes(path)))


def refuse_form(form: str | None, place: str = "") -> None:
    """Raises PersonascopeError for a phrasing that bears the name by which views put all phrasings together."""
    if form == ALL_FORMS:
        raise PersonascopeError(f"{place}prompt_form is {form!r}, which is what views call all phrasings together; expected another name")


def _cell(path: Path, place: str, column: str, value: Any) -> str | None:
    """A value as text: names without outer space, texts as they stand, None for what is blank."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PersonascopeError(f"{path}, {place}: {column} is {short(value)}; expected text")
    text = str(value)
    if not text.strip():
        return None
    return text if column in TEXTS else text.strip()


def _padded(path: Path, prompts: list[Prompt]) -> list[str]:
    """What to tell of texts with white space around them."""
    told = []
    for column in TEXTS:
        padded = [prompt.example_id for prompt in prompts if (text := getattr(prompt, column)) and text != text.strip()]
        if padded:
            told.append(f"{path}: {len(padded)} of {len(prompts)} prompts have a {column} with white space at an end, which is kept; the first is {padded[0]}")
    return told


def _persona_key(path: Path, place: str, values: dict[str, str | None], numbers: dict[str, int]) -> list[str | None]:
    """Parts of the example's name, the question's id last; `numbers` counts the questions seen so far."""
    if not values["persona"] or not values["question"]:
        raise PersonascopeError(f"{path}, {place}: persona and question must not be empty")
    question_id = values["question_id"] or f"q{numbers.setdefault(values['question'], len(numbers)):02d}"
    return [values["persona"], values["condition"], values["prompt_form"], question_id]


def _category_key(path: Path, place: str, values: dict[str, str | None], index: int, paired: bool) -> list[str | None]:
    """Parts of the example's name, the pair's id last; a bare number gets the prefix `q`."""
    if not values["category"] or not values["question"]:
        raise PersonascopeError(f"{path}, {place}: category and question must not be empty")
    question_id = values["question_id"] or ("" if paired else str(index))
    if not question_id:
        raise PersonascopeError(f"{path}, {place}: question_id is empty; expected one that names the pair, or no such column in the file")
    return [values["category"], values["condition"], values["prompt_form"], f"q{int(question_id):02d}" if question_id.isdecimal() else question_id]


def ingest_prompts(lake: Lake, path: Path, name: str | None = None) -> tuple[PromptSet, str, bool]:
    """Brings the prompt set of a file into the lake under its name; returns the set, its run and whether it was new.

    Raises PersonascopeError for a file that cannot be read and a name under which the set could not be found again.
    """
    prompt_set = read_prompts(path, name)
    _expect_name(prompt_set.name, path)
    spec = RunSpec(
        kind="ingest",
        extractor="prompts",
        version=LOADER_VERSION,
        identity={"name": prompt_set.name, "prompts": prompt_set.content_hash},
        prompt_set=prompt_set.label,
        prompt_set_hash=prompt_set.content_hash,
        parameters=[Parameter(name="file", value=path.name, origin="command line")],
        constants={"prompt_set": prompt_set.label},
    )
    writer = lake.start(spec, patience=PATIENCE)
    if writer is not None:
        with writer:
            writer.write_part("examples", {"examples": [prompt.model_dump() for prompt in prompt_set.prompts]})
            writer.commit({"n_examples": len(prompt_set.prompts)})
    return prompt_set, spec.run_id, writer is not None


def _expect_name(name: str, path: Path) -> None:
    """Raises PersonascopeError for a name under which the set could not be found again."""
    if name in SHIPPED:
        raise PersonascopeError(f"{path}: {name!r} is the name of a prompt set that ships, which would be read in its place; expected another --name")
    if not name.strip() or "@" in name or Path(name).suffix.casefold() in TABLES:
        raise PersonascopeError(
            f"{path}: {name!r} is no name for a prompt set: @ stands before its version and an ending makes a file of it; expected another --name"
        )


def _from_lake(lake: Lake, reference: str) -> PromptSet | None:
    """The newest prompt set in the lake whose name, or name@version, is `reference`."""
    runs = [run for run in lake.manifests() if run.extractor == "prompts" and run.prompt_set and reference in (run.prompt_set, run.prompt_set.split("@")[0])]
    if not runs:
        return None
    newest = max(runs, key=lambda run: run.finished)
    rows = lake.read(newest.run_id, "examples", list(Prompt.model_fields)).to_pylist()
    return PromptSet(name=reference.split("@")[0], prompts=_in_order([Prompt(**row) for row in rows]))


def _in_order(prompts: list[Prompt]) -> tuple[Prompt, ...]:
    """Prompts in the order of their names, in which the lake keeps them: a file and the set it became in the lake are one version."""
    return tuple(sorted(prompts, key=lambda prompt: prompt.example_id))
