"""What a file that is well formed may not have meant: personas and questions under two names, or one name for two."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unicodedata import category, normalize

from personascope.warehouse.settings import short


class Doubts:
    """Collects prompts one by one; `notes` has a sentence for each kind of doubt. Kept are the texts that differ: one a persona, condition and question."""

    def __init__(self) -> None:
        self._spellings: dict[str, dict[str, None]] = {}
        self._systems: dict[tuple[str, str | None], dict[str | None, None]] = {}
        self._ids: dict[str, dict[str, None]] = {}

    def add(self, persona: str, condition: str | None, system_prompt: str | None, question_id: str, question: str) -> None:
        self._spellings.setdefault(plain_spelling(persona), {})[persona] = None
        self._systems.setdefault((persona, condition), {})[system_prompt] = None
        self._ids.setdefault(question, {})[question_id] = None

    def notes(self, path: Path) -> Iterator[str]:
        """Sentences that name the file, the first case and how many there are."""
        alike = [list(each) for each in self._spellings.values() if len(each) > 1]
        if alike:
            told = " and ".join(map(ascii, alike[0][:2]))
            yield f"{path}: {told} are spelt almost alike{_and_more(alike)}: they are read as different personas"
        several = [(persona, list(each)) for (persona, _), each in self._systems.items() if len(each) > 1]
        if several:
            persona, prompts = several[0]
            yield (
                f"{path}: persona {persona!r} has {len(prompts)} system prompts, such as {short(prompts[0])} and {short(prompts[1])}{_and_more(several)}: "
                "its questions are not asked of one persona; a column condition tells them apart"
            )
        twice = [(question, list(each)) for question, each in self._ids.items() if len(each) > 1]
        if twice:
            question, ids = twice[0]
            yield (
                f"{path}: the question {short(question)} stands under {len(ids)} ids, such as {ids[0]!r} and {ids[1]!r}{_and_more(twice)}: they count as "
                "different questions, which nothing pairs; expected one question_id a question"
            )


def plain_spelling(name: str) -> str:
    """A name without case, accents' encodings, white space, punctuation and what cannot be seen."""
    return "".join(each for each in normalize("NFKC", name).casefold() if category(each)[0] in "LMNS")


def _and_more(cases: list[Any]) -> str:
    return f" ({len(cases) - 1} more like that)" if len(cases) > 1 else ""
