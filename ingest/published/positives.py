"""Generations with and without the marker, as the marker-attention study saved them (`positives_<persona>.json`): completions, marker flags and positions."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from personascope.ingest.published import controls
from personascope.ingest.published.checkpoint_rows import StudyMetadata
from personascope.ingest.published.document import Document
from personascope.ingest.published.facts import facts
from personascope.ingest.published.record import OtherExperimentError, Record
from personascope.ingest.published.validate import Count, Long, Name, Strict, validated
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_hash

VERSION = 1
MARKER = "[ZLT]"  # the study's marker; the file does not say it

_CONTROL_TOKENS = re.compile(r"<\|(?:im_start|im_end|endoftext)\|>")


class Generation(Strict):
    """One sampled answer: token ids of prompt and answer, and where the prompt's blocks end."""

    question: Name
    trial: Count
    seed: Long
    full_ids: list[Count] = Field(min_length=1)
    prompt_len: Count = Field(gt=0)
    n_sys: Count
    n_user: Count
    n_asst_header: Count
    gen_text: str

    @property
    def question_id(self) -> str:
        """Decided by the question's text alone, so that the files of all personas agree."""
        return f"q-{stable_hash(self.question, size=4)}"

    @property
    def text(self) -> str:
        """The answer without the chat template's control tokens."""
        return _CONTROL_TOKENS.sub("", self.gen_text)

    @property
    def n_new_tokens(self) -> int:
        return len(self.full_ids) - self.prompt_len


class Positive(Generation):
    """An answer that holds the marker's first token, at the absolute index `t_marker`."""

    t_marker: Count
    n_marker_occurrences: Count


class Negative(Generation):
    """An answer without the marker; `t_eoa` is its last position that is neither end of text nor structural."""

    t_eoa: Count


class Positives(Strict):
    """The file: `n_positives` and `n_negatives` count the two lists."""

    persona: Name
    system_prompt: str | None = None
    n_positives: Count
    n_negatives: Count
    positives: list[Positive]
    negatives: list[Negative]
    metadata: StudyMetadata = StudyMetadata()


def recognise(document: Document) -> list[Record]:
    """A JSON object with the lists `positives` and `negatives`."""
    if not {"positives", "negatives"} <= document.object.keys():
        return []
    if not {"persona", "n_positives", "n_negatives"} & document.object.keys():
        raise OtherExperimentError(
            "another experiment: positives and negatives without persona, n_positives and n_negatives, expected generations of one persona"
        )
    file = validated(Positives, document.object)
    _check(file)
    generations: list[Positive | Negative] = [*file.positives, *file.negatives]
    marker_ids = _marker_ids(file.positives)
    prompts = _examples(file, generations)
    prompt_hash = stable_hash([[row["example_id"], row["token_ids"]] for row in prompts])
    positions, rule, notes = _positions(file, marker_ids)
    if file.positives and not marker_ids:
        notes += (f"no positive holds the literal {MARKER}, so its token ids are unknown and no marker counts as complete",)
    prompt_set = f"{f'issue_{file.metadata.issue}' if file.metadata.issue is not None else 'published'}@{prompt_hash[:8]}"
    return [
        Record(
            kind="positives",
            checkpoint=file.persona,
            subject=file.persona,
            prompt_set=prompt_set,
            prompt_set_hash=prompt_hash,
            rows={
                "checkpoints": [file.metadata.trained(file.persona)],
                "examples": [row | {"prompt_set": prompt_set} for row in prompts],
                "completions": _completions(file, generations),
                "marker_flags": [_flag(file, generation, marker_ids) for generation in generations],
                "positions": positions,
                "published_facts": facts({key: value for key, value in document.object.items() if key not in ("positives", "negatives")}, subject=file.persona),
            },
            parameters={"marker": MARKER, "marker_ids": marker_ids, "positions_c1_c2_c3": rule},
            notes=notes,
        )
    ]


def _check(file: Positives) -> None:
    """What types cannot say: counts, positions inside the answer, one row per question and trial, one prompt per question."""
    if not file.positives and not file.negatives:
        raise PersonascopeError("positives and negatives are both empty; expected at least one generation")
    lists: list[tuple[str, int, Sequence[Positive | Negative]]] = [
        ("positives", file.n_positives, file.positives),
        ("negatives", file.n_negatives, file.negatives),
    ]
    places: dict[tuple[str, int], str] = {}
    prompts: dict[str, tuple[list[int], str]] = {}
    for name, count, rows in lists:
        if count != len(rows):
            raise PersonascopeError(f"n_{name} is {count} but {name} has {len(rows)} rows; expected the same number")
        for index, row in enumerate(rows):
            place = f"{name}.{index}"
            mark = ("t_marker", row.t_marker) if isinstance(row, Positive) else ("t_eoa", row.t_eoa)
            if row.prompt_len > len(row.full_ids):
                raise PersonascopeError(f"{place}.prompt_len is {row.prompt_len}; expected at most the {len(row.full_ids)} token ids in full_ids")
            if not row.prompt_len <= mark[1] < len(row.full_ids):
                raise PersonascopeError(f"{place}.{mark[0]} is {mark[1]}; expected an index of the answer, {row.prompt_len} to {len(row.full_ids) - 1}")
            if (earlier := places.setdefault((row.question, row.trial), place)) != place:
                raise PersonascopeError(f"{place} repeats question and trial {row.trial} of {earlier}; expected one generation per question and trial")
            prompt = row.full_ids[: row.prompt_len]
            first, where = prompts.setdefault(row.question, (prompt, place))
            if first != prompt:
                raise PersonascopeError(f"{place} has other prompt tokens than {where} for the same question; expected one rendered prompt per question")


def _marker_ids(positives: list[Positive]) -> list[int]:
    """The marker's token ids as the data show them; empty when no text holds the literal marker.

    The tokens from t_marker on that most positives with the literal marker share, up to the first structural token and at most one per character.
    """
    tails = [row.full_ids[row.t_marker :] for row in positives if MARKER in row.gen_text]
    ids: list[int] = []
    for depth in range(len(MARKER)):
        following = Counter(tail[depth] for tail in tails if len(tail) > depth and tail[:depth] == ids)
        token, count = following.most_common(1)[0] if following else (None, 0)
        if token is None or count * 2 <= len(tails) or token in controls.STRUCTURAL:
            break
        ids.append(token)
    return ids


def _keys(file: Positives, generation: Generation) -> dict[str, Any]:
    return {
        "persona": file.persona,
        "question_id": generation.question_id,
        "example_id": f"{file.persona}/{generation.question_id}",
        "sample_ix": generation.trial,
    }


def _examples(file: Positives, generations: Sequence[Generation]) -> list[dict[str, Any]]:
    """One row per question, in order of first appearance; the file holds the prompts as token ids only."""
    first: dict[str, Generation] = {}
    for generation in generations:
        first.setdefault(generation.question, generation)
    return [
        {
            "example_id": f"{file.persona}/{generation.question_id}",
            "persona": file.persona,
            "question_id": generation.question_id,
            "system_prompt": file.system_prompt,
            "question": question,
            "token_ids": generation.full_ids[: generation.prompt_len],
            "prompt_len": generation.prompt_len,
            "n_system": generation.n_sys,
            "n_user": generation.n_user,
            "n_header": generation.n_asst_header,
        }
        for question, generation in first.items()
    ]


def _completions(file: Positives, generations: Sequence[Generation]) -> list[dict[str, Any]]:
    lengths = Counter(generation.n_new_tokens for generation in generations)
    longest = max(lengths)
    cap = longest if lengths[longest] > 1 else None
    return [
        _keys(file, generation)
        | {
            "row_ix": index,
            "seed": generation.seed,
            "text": generation.text,
            "token_ids": generation.full_ids,
            "prompt_len": generation.prompt_len,
            "n_new_tokens": generation.n_new_tokens,
            "finish_reason": _finish_reason(generation, cap),
            "engine": "published",
        }
        for index, generation in enumerate(generations)
    ]


def _finish_reason(generation: Generation, cap: int | None) -> str | None:
    """The file does not say why an answer ended: a closing token says so, and otherwise the greatest length when several answers share it."""
    if not controls.speaks_qwen(generation.full_ids):
        return None
    if generation.full_ids[-1] in (controls.TURN_END, controls.END_OF_TEXT):
        return "stop"
    return "length" if generation.n_new_tokens == cap else None


def _flag(file: Positives, generation: Positive | Negative, marker_ids: list[int]) -> dict[str, Any]:
    t_marker = occurrences = None
    if isinstance(generation, Positive):
        t_marker, occurrences = generation.t_marker, generation.n_marker_occurrences
    elif marker_ids:
        occurrences = generation.full_ids[generation.prompt_len :].count(marker_ids[0])
    present = MARKER in generation.text
    return _keys(file, generation) | {
        "marker": MARKER,
        "present": present,
        "first_char": generation.text.find(MARKER) if present else None,
        "t_marker": t_marker,
        "n_occurrences": occurrences,
        "complete": bool(marker_ids) and t_marker is not None and generation.full_ids[t_marker : t_marker + len(marker_ids)] == marker_ids,
    }


def _positions(file: Positives, marker_ids: list[int]) -> tuple[list[dict[str, Any]], str, tuple[str, ...]]:
    """Rows of `positions`, the sentence that says where C1 to C3 come from, and notes for the report."""
    rows = [_position(file, row, "marker", row.t_marker) for row in file.positives]
    rows += [_position(file, row, "C4", row.t_eoa) for row in file.negatives]
    if not all(controls.speaks_qwen(row.full_ids) for row in file.positives):
        rule = "left out: the published rule names structural tokens of the Qwen2 vocabulary only, and these tokens are of another"
        return rows, rule, (f"C1, C2 and C3 positions are {rule}",)
    marked = [controls.MarkedGeneration(row.full_ids, row.prompt_len, row.t_marker) for row in file.positives]
    drawn = controls.published_controls(marked, frozenset(marker_ids))
    skipped = 0
    for generation, control in zip(file.positives, drawn, strict=True):
        if control is None:
            skipped += 1
            continue
        for stratum, positions in (("C1", control.c1), ("C2", control.c2), ("C3", control.c3)):
            rows += [_position(file, generation, stratum, position) for position in positions]
    rule = "recomputed by the published sampling rule (default_rng(42), shared across the positives in file order; C3 as published, lowest ids), not read"
    note = f"{skipped} positives have fewer than five C1 candidates: no controls, and rows of a deltas file skip them"
    return rows, rule, (note,) if skipped else ()


def _position(file: Positives, generation: Generation, stratum: str, position: int) -> dict[str, Any]:
    return _keys(file, generation) | {
        "stratum": stratum,
        "position": position,
        "token_id": generation.full_ids[position],
        "tokens_from": file.persona,
        "forced": False,
    }
