"""Completions that others sampled: rows of their files rendered, tokenised and checked as the named checkpoint reads them, in the tables our own are in."""

from __future__ import annotations

import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from personascope.extract.texts.chat import RenderedPrompt, answer_end, render
from personascope.extract.texts.conversation import conversation_of
from personascope.extract.texts.marker import answer_text, find_marker, marker_spellings, special_pieces
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import NO_PERSONA, NO_SYSTEM_TURN, SYSTEM_CELLS, refuse_form
from personascope.ingest.records.columns import ColumnNames, Record
from personascope.ingest.records.doubts import Doubts
from personascope.ingest.records.files import GENERATIONS, RecordFile, open_records
from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.warehouse.documents import parse_json
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import Parameter, short
from personascope.warehouse.store.hashing import file_hash, stable_hash, stable_seed
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import RunWriter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

EXTRACTOR = "brought"
VERSION = 1
ROWS = 4096  # completions a part
NAMES = ("persona", "condition", "category", "question_id", "prompt_form", "target", "question", "system_prompt", "text")
COLUMNS = (*NAMES, "messages", "sample_ix", "seed", "finish_reason", "token_ids", "prompt_len", "prompt_token_ids", "prompt_text", "checkpoint")
SPELLINGS = {
    **{"answer": "text", "completion": "text", "response": "text", "generation": "text", "output": "text"},
    **{"prompt": "question", "system": "system_prompt", "sample": "sample_ix", "stop_reason": "finish_reason", "model": "checkpoint"},
}
FINISHED = {
    **dict.fromkeys(("stop", "eos", "eos_token", "end_turn", "stop_sequence", "end"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "max_new_tokens", "model_length"), "length"),
}


@dataclass(frozen=True)
class Source:
    """One file of completions and how it is read: whose they are, which marker is looked for, and which columns have other names."""

    path: Path
    checkpoint: Checkpoint
    marker: str = "[ZLT]"
    columns: Mapping[str, str] = field(default_factory=dict)
    persona: str | None = None


def bring(lake: Lake, source: Source, models: Models, force: bool = False, say: Callable[[str], None] = lambda line: print(line, file=sys.stderr)) -> str:
    """Writes the completions of a file into a committed run (examples, completions, marker_flags, turns, checkpoints) and returns its run_id.

    The file's bytes, the checkpoint, the marker and the names of the columns decide the run: the same file twice is recognised. Read in batches; kept in memory
    are eight bytes a row and some a prompt. Raises PersonascopeError naming file and line (or row, or sample) for whatever does not fit; nothing is left then.
    """
    tokenizer = models.tokenizer(source.checkpoint)
    spec = _spec(source, special_pieces(tokenizer, marker_spellings(tokenizer, source.marker)))
    if lake.is_committed(spec.run_id) and not force:
        say(f"{spec.run_id}: already in the lake ({source.path})")
        return spec.run_id
    file = open_records(source.path, ColumnNames(COLUMNS, SPELLINGS, source.columns), GENERATIONS)
    reader = _Reader(source, file, tokenizer)
    for note in file.notes:
        say(note)
    writer = lake.start(spec, plan=uuid4().hex, force=force)
    if writer is None:
        return spec.run_id
    with writer:
        try:
            reader.write(writer)
        except PersonascopeError:
            writer.abandon()
            raise
        manifest = writer.commit(reader.summary())
    for note in reader.notes():
        say(note)
    say(f"{spec.run_id}: {manifest.n_rows:,} rows in {manifest.seconds:.1f} s ({source.path}, {source.checkpoint.name})")
    return spec.run_id


def _spec(source: Source, special: frozenset[int]) -> RunSpec:
    try:
        content = file_hash(source.path)
    except OSError as error:
        raise PersonascopeError(f"{source.path}: cannot be read ({error.strerror}); expected a file of completions") from error
    asked = {"marker": source.marker, "columns": dict(source.columns), "persona": source.persona}
    typed = [Parameter(name="file", value=str(source.path), origin="command line"), Parameter(name="marker", value=source.marker)]
    typed += [Parameter(name=f"column {own}", value=theirs, origin="command line") for own, theirs in source.columns.items()]
    label = f"{source.path.stem}@{content[:8]}"
    return RunSpec(
        kind="extract",
        extractor=EXTRACTOR,
        version=VERSION,
        identity={"content": content, "checkpoint": [source.checkpoint.name, source.checkpoint.identity], **asked, "special_marker": sorted(special)},
        checkpoint=source.checkpoint.name,
        subject=source.checkpoint.name,
        prompt_set=label,
        prompt_set_hash=content,
        parameters=typed,
        constants={"prompt_set": label, "marker": source.marker, "engine": EXTRACTOR},
    )


@dataclass
class _Example:
    """What is kept of a prompt: a hash of its texts, and where it stood first."""

    texts: str
    place: str


class _Reader:
    """Turns records into rows, a batch at a time."""

    def __init__(self, source: Source, file: RecordFile, tokenizer: PreTrainedTokenizerBase) -> None:
        for column in ("question", "text"):
            if column not in file.columns and "messages" not in file.columns:
                raise PersonascopeError(
                    f"{source.path}: the column {column!r} is missing; found {', '.join(file.header) or 'nothing'}; name the one that holds it by "
                    f"--column {column}=NAME, or a conversation by --column messages=NAME"
                )
        self._source, self._file, self._tokenizer = source, file, tokenizer
        self._spellings = marker_spellings(tokenizer, source.marker)
        self._examples: dict[str, _Example] = {}
        self._samples: Counter[str] = Counter()  # completions of a prompt so far
        self._questions: dict[str, tuple[str, str]] = {}  # question_id -> hash of its question, and where it stood first
        self._ids: dict[str, str] = {}  # hash of a question without an id -> the id it was given
        self._seen = array("Q")
        self._prompts: dict[int, str] = {}  # hash of a question's tokens -> persona
        self._twins: dict[tuple[str, str], str] = {}
        self._doubts = Doubts()
        self._counts: Counter[str] = Counter()
        self._present: Counter[str] = Counter()
        self._of: Counter[str] = Counter()
        self._checkpoint: tuple[str, str] | None = None
        self._render = lru_cache(maxsize=4096)(lambda *asked: render(tokenizer, *asked))

    def write(self, writer: RunWriter) -> None:
        writer.write_part("known", {"checkpoints": [self._source.checkpoint.row()]})
        rows: dict[str, list[dict[str, Any]]] = {"examples": [], "completions": [], "marker_flags": [], "turns": []}
        number = 0
        for record in self._file:
            try:
                self._add(record, number, rows)
            except PersonascopeError as error:
                raise PersonascopeError(f"{self._source.path}, {record.place}: {error}") from error
            number += 1
            if number % ROWS == 0:
                self._flush(writer, number, rows)
        if not number:
            raise PersonascopeError(f"{self._source.path}: no completions in it; expected at least one row")
        if rows["completions"]:
            self._flush(writer, number, rows)
        self._refuse_repeats()

    @staticmethod
    def _flush(writer: RunWriter, number: int, rows: dict[str, list[dict[str, Any]]]) -> None:
        writer.write_part(f"{number:012d}", {name: list(each) for name, each in rows.items() if each})
        for each in rows.values():
            each.clear()

    def _add(self, record: Record, number: int, rows: dict[str, list[dict[str, Any]]]) -> None:
        values = dict(record.values)
        talk = conversation_of(values)
        if talk is not None:
            values |= {"question": talk.question, "text": talk.answer, "system_prompt": values.get("system_prompt") or talk.system}
        self._one_checkpoint(values, record.place)
        prompt = {name: _text(values, name) for name in NAMES if name != "text"}
        prompt["persona"] = prompt["persona"] or self._source.persona or NO_PERSONA
        refuse_form(prompt["prompt_form"])
        if not prompt["question"]:
            raise PersonascopeError("question is empty; expected the user's message")
        system = prompt["system_prompt"]
        prompt["system_prompt"] = SYSTEM_CELLS.get((system or "").strip(), NO_SYSTEM_TURN if (system or "").strip() == NO_SYSTEM_TURN else system)
        if talk is not None and talk.system is not None:
            prompt["system_prompt"] = talk.system  # also an empty one, which is another prompt than none
        earlier = talk.earlier if talk else ()
        asked = [exchange.question for exchange in earlier]
        prompt["question_id"] = self._question_id(prompt, record.place, asked)
        example_id = "/".join(str(part) for part in (prompt["persona"], prompt["condition"], prompt["prompt_form"], prompt["question_id"]) if part)
        sample_ix = _whole(values, "sample_ix")
        sample_ix = self._samples[example_id] if sample_ix is None else sample_ix
        self._samples[example_id] += 1
        if earlier and sample_ix:
            example_id += f"#{sample_ix}"  # its earlier answers are its own, so its prompt is
        rendered = self._render(prompt["system_prompt"], prompt["question"], earlier)
        texts = stable_hash([prompt, earlier])
        example = self._examples.get(example_id)
        if example is None:
            self._examples[example_id] = _Example(texts, record.place)
            rows["examples"].append(prompt | {"example_id": example_id} | rendered.columns())
            self._note_twin(prompt, rendered)
            self._doubts.add(
                str(prompt["persona"]), prompt["condition"], prompt["system_prompt"], str(prompt["question_id"]), " / ".join([*asked, prompt["question"]])
            )
        elif example.texts != texts:
            other = "system prompt, category, target or beginning of the conversation" if earlier else "system prompt, category or target"
            raise PersonascopeError(f"{example_id} has another {other} than on {example.place}; expected one prompt per example")
        self._seen.append(stable_seed(example_id, sample_ix))
        text, answer, finish = self._answer(values, rendered)
        ids = [*rendered.token_ids, *answer]
        flag = find_marker(text, ids, rendered.prompt_len, self._source.marker, self._spellings)
        key = {"persona": prompt["persona"], "question_id": prompt["question_id"], "example_id": example_id, "sample_ix": sample_ix}
        told = {"row_ix": number, "seed": _whole(values, "seed"), "text": text, "token_ids": ids, "prompt_len": rendered.prompt_len}
        rows["completions"].append(key | told | {"n_new_tokens": len(answer), "finish_reason": finish})
        rows["marker_flags"].append(key | vars(flag))
        if talk is not None:
            places = [*rendered.turns, (rendered.prompt_len, answer_end(ids, rendered.prompt_len, self._tokenizer))]
            for turn, (exchange, (start, stop)) in enumerate(zip(talk.exchanges, places, strict=True)):
                begun = str(self._tokenizer.decode(ids[start : start + 1])) if exchange.answer[:1].isspace() and turn < len(earlier) else ""
                self._counts["begun before"] += begun[:1].isspace() and not exchange.answer.startswith(begun)
                rows["turns"].append(key | {"turn": turn, "question": exchange.question, "text": exchange.answer, "start": start, "stop": stop})
        self._of[str(prompt["persona"])] += 1
        self._present[str(prompt["persona"])] += flag.present
        self._counts["empty"] += not text.strip()
        self._counts["in pieces"] += flag.present and not flag.complete

    def _one_checkpoint(self, values: Mapping[str, Any], place: str) -> None:
        named = _text(values, "checkpoint")
        if named is None:
            return
        if self._checkpoint is None:
            self._checkpoint = named, place
        if self._checkpoint[0] != named:
            raise PersonascopeError(
                f"a completion of {named!r}, and on {self._checkpoint[1]} one of {self._checkpoint[0]!r}; expected those of one checkpoint a file"
            )

    def _is_named_so(self, named: str) -> bool:
        """Whether a name in the file is that of the checkpoint: its short name, its id, or the last part of either."""
        own = {self._source.checkpoint.name, self._source.checkpoint.id.split("@")[0]}
        return named.rstrip("/").split("/")[-1].casefold() in {each.rstrip("/").split("/")[-1].casefold() for each in own}

    def _question_id(self, prompt: dict[str, str | None], place: str, earlier: list[str]) -> str:
        """The id given, else one by the order in which questions come first; raises PersonascopeError for an id with two questions. A conversation's question
        is all that its user says."""
        said = [*earlier, prompt["question"]]
        asked = stable_hash([*said, prompt["prompt_form"]])
        found = prompt["question_id"] or self._ids.setdefault(stable_hash(said), f"q{len(self._ids):02d}")
        known, first = self._questions.setdefault(f"{found}/{prompt['prompt_form'] or ''}", (asked, place))
        if known != asked:
            raise PersonascopeError(
                f"question_id {found!r} asks {short(' / '.join(map(str, said)))}, and another question on {first}; expected one question per question_id"
            )
        return found

    def _note_twin(self, prompt: dict[str, Any], rendered: RenderedPrompt) -> None:
        tokens = stable_seed(prompt["question_id"], prompt["condition"], prompt["prompt_form"], rendered.token_ids)
        other = self._prompts.setdefault(tokens, prompt["persona"])
        if other != prompt["persona"]:
            self._twins.setdefault((other, prompt["persona"]), prompt["question_id"])

    def _answer(self, values: Mapping[str, Any], rendered: RenderedPrompt) -> tuple[str, list[int], str | None]:
        """Text, tokens and ending of an answer: the tokens given, checked against prompt and text, else those the checkpoint's tokenizer makes of the text."""
        text = values.get("text")
        if not isinstance(text, str):
            raise PersonascopeError(f"text is {short(text)}; expected the answer as text (empty where there is none)")
        word = _text(values, "finish_reason")
        finish = None if word is None else FINISHED.get(word.casefold())
        self._counts["unknown endings"] += word is not None and finish is None
        self._check_prompt(values, rendered)
        ids = _tokens(values, "token_ids")
        if ids is None:
            end = self._tokenizer.eos_token_id
            answer = self._tokenizer.encode(text, add_special_tokens=False)
            self._counts["tokenised"] += 1
            return text, [*answer, *([end] if finish == "stop" and end is not None and answer[-1:] != [end] else [])], finish
        prompt_len = _whole(values, "prompt_len")
        whole = prompt_len is not None or tuple(ids[: rendered.prompt_len]) == rendered.token_ids
        if whole:
            self._same(ids[: rendered.prompt_len if prompt_len is None else prompt_len], rendered)
            ids = ids[rendered.prompt_len :]
        outside = [token for token in ids if not 0 <= token < self._source.checkpoint.vocab_size]
        if outside:
            raise PersonascopeError(
                f"token id {outside[0]} is outside the vocabulary of {self._source.checkpoint.vocab_size}; are these another model's tokens?"
            )
        said = answer_text(self._tokenizer, ids, self._spellings)
        if said.strip() != text.strip():
            raise PersonascopeError(
                f"token_ids spell {short(said)}, and text is {short(text)}; expected the same by the tokenizer of {self._source.checkpoint.name}"
            )
        return said, ids, finish

    def _check_prompt(self, values: Mapping[str, Any], rendered: RenderedPrompt) -> None:
        """Holds a prompt that the file gives, as text or tokens, against the one the checkpoint's chat template writes."""
        given = values.get("prompt_text")
        if given is not None and given != rendered.text:
            raise PersonascopeError(f"prompt_text is {short(given)}, and the chat template of {self._source.checkpoint.name} writes {short(rendered.text)}")
        if (ids := _tokens(values, "prompt_token_ids")) is not None:
            self._same(ids, rendered)

    def _same(self, ids: list[int], rendered: RenderedPrompt) -> None:
        if tuple(ids) == rendered.token_ids:
            return
        place = next((at for at, (one, other) in enumerate(zip(ids, rendered.token_ids, strict=False)) if one != other), min(len(ids), rendered.prompt_len))
        found, expected = (repr(self._tokenizer.decode(list(each[place : place + 1]))) for each in (ids, rendered.token_ids))
        raise PersonascopeError(
            f"its prompt of {len(ids)} tokens is not the {rendered.prompt_len} that the chat template of {self._source.checkpoint.name} writes: token {place} "
            f"is {found}, expected {expected}; was it sampled under another template?"
        )

    def _refuse_repeats(self) -> None:
        """Raises PersonascopeError for a completion whose number stands twice in an example, naming both places."""
        seen = np.frombuffer(self._seen, dtype=np.uint64)
        values, counts = np.unique(seen, return_counts=True)
        if not (counts > 1).any():
            return
        first, second = np.flatnonzero(seen == values[counts > 1][0])[:2]
        places = [record.place for number, record in enumerate(self._file) if number in (first, second)]
        raise PersonascopeError(f"{self._source.path}, {places[1]}: the same example and sample_ix as {places[0]}; expected every completion once")

    def summary(self) -> dict[str, Any]:
        """The few figures that describe the run."""
        return {
            "n_completions": len(self._seen),
            "n_empty": self._counts["empty"],
            "n_tokenised_here": self._counts["tokenised"],
            "n_in_pieces": self._counts["in pieces"],
            **{f"marker_rate.{persona}": self._present[persona] / count for persona, count in sorted(self._of.items())},
        }

    def notes(self) -> Iterator[str]:
        """What a reader of the run should know."""
        path = self._source.path
        yield from self._doubts.notes(path)
        if self._checkpoint and not self._is_named_so(self._checkpoint[0]):
            yield f"{path}: says that {self._checkpoint[0]!r} wrote its completions; they are read as those of {self._source.checkpoint.name}, as typed"
        for (one, other), question in list(self._twins.items())[:3]:
            yield f"{path}: personas {one!r} and {other!r} have the same prompt tokens (question {question}): is there a column system_prompt?"
        if n := self._counts["tokenised"]:
            yield f"{path}: {n:,} of {len(self._seen):,} completions came without token ids and were tokenised by {self._source.checkpoint.name}"
        if n := self._counts["begun before"]:
            yield (
                f"{path}: {n:,} earlier answers begin with white space that the tokenizer of {self._source.checkpoint.name} joins to what the template writes "
                "before them: their first token is another than the model was given when it answered"
            )
        if n := self._counts["unknown endings"]:
            yield f"{path}: {n:,} completions ended in an unknown way (finish_reason is neither stop nor length)"


def _text(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise PersonascopeError(f"{name} is {short(value)}; expected text")
    return str(value) if name in ("question", "system_prompt", "target") else str(value).strip()


def _whole(values: Mapping[str, Any], name: str) -> int | None:
    value = values.get(name)
    if value is None or value == "":
        return None
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError):
        number = -1
    if isinstance(value, bool) or not 0 <= number < 2**63 or (isinstance(value, float) and value != number):
        raise PersonascopeError(f"{name} is {short(value)}; expected a whole number from 0")
    return number


def _tokens(values: Mapping[str, Any], name: str) -> list[int] | None:
    value = values.get(name)
    if isinstance(value, str):
        value = parse_json(value) if value.strip() else None
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(token, int) and not isinstance(token, bool) for token in value):
        raise PersonascopeError(f"{name} is {short(value)}; expected a list of token ids")
    return value
