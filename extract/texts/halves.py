"""The two halves of the questions: directions are made on one and used on the other, so that no figure rests on the questions it was fitted to."""

from typing import Literal, get_args

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_seed

Half = Literal["a", "b"]
MadeOn = Literal["all", "a", "b"]
HALVES: tuple[Half, ...] = get_args(Half)


def half_of(question_id: str) -> Half:
    """The half a question belongs to, decided by its id alone: the same in every process, run and prompt set."""
    return HALVES[stable_seed("half", question_id) & 1]


def other_half(half: Half) -> Half:
    """The questions that are not of this half."""
    return "b" if half == "a" else "a"


def half_to_read(what: str, made_on: set[MadeOn | None]) -> Half | None:
    """The half on which directions may be used that were made on these: the other one; None, every question, where none was made on questions.

    Raises PersonascopeError, naming `what` would use them, for directions of all questions or of both halves, which leave no question unseen.
    """
    seen = made_on - {None}
    if not seen:
        return None
    for half in HALVES:
        if seen == {half}:
            return other_half(half)
    made = "all questions" if "all" in seen else "both halves of the questions"
    raise PersonascopeError(f"{what}: its directions were made on {made}, which leaves none to use them on; expected directions of one half, or half=all")
