"""The one exception a user may see: a sentence that names what, where and what was expected; and what other exceptions say, as a part of one."""

LONGEST = 600  # characters of a sentence that is shown


class PersonascopeError(Exception):
    """Bad input or an impossible request; the CLI prints the sentence and exits with `exit_code`."""

    exit_code = 1


class NothingToReadError(PersonascopeError):
    """A step finds no usable example in what earlier steps made; what they made stays, and says something of its own."""


def one_line(error: BaseException) -> str:
    """What an exception says, on one line of at most 300 characters and without its full stop."""
    words = " ".join(str(error).split())
    return (words if len(words) <= 300 else words[:299] + "…").rstrip(".:") or type(error).__name__


def sentence(error: PersonascopeError, longest: int = LONGEST) -> str:
    """What a user reads of an error: one line, cut where values in it are long; `--debug` shows all of it."""
    words = " ".join(str(error).split())
    return words if len(words) <= longest else f"{words[:longest]}… ({len(words):,} characters; --debug shows all)"
