"""The one exception a user may see: a sentence that names what, where and what was expected; and what other exceptions say, as a part of one."""

import shlex

LONGEST = 600  # characters of a sentence that is shown


class PersonascopeError(Exception):
    """Bad input or an impossible request; the CLI prints the sentence and exits with `exit_code`."""

    exit_code = 1


class NothingToReadError(PersonascopeError):
    """A step finds no usable example in what earlier steps made; what they made stays, and says something of its own."""


def printable(text: str) -> str:
    """A text of a stranger for a terminal: one line, in which no character moves the cursor, changes a colour or turns the direction of writing."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in " ".join(text.split()))


def pasted(part: object) -> str:
    """A path or name as a word of a command that a reader may paste into a shell."""
    return shlex.quote(str(part))


def pasted_options(**options: str | bool | None) -> str:
    """The options that were typed as words of a command that goes on with the same things, each behind a space; names as Python spells them."""
    given = {f"--{name.replace('_', '-')}": value for name, value in options.items() if value}
    return "".join(f" {option}" if value is True else f" {option} {pasted(value)}" for option, value in given.items())


def one_line(error: BaseException) -> str:
    """What an exception says, on one line of at most 300 characters and without its full stop."""
    words = printable(str(error))
    return (words if len(words) <= 300 else words[:299] + "…").rstrip(".:") or type(error).__name__


def sentence(error: PersonascopeError, longest: int = LONGEST) -> str:
    """What a user reads of an error: one line, cut where values in it are long; `--debug` shows all of it."""
    words = printable(str(error))
    return words if len(words) <= longest else f"{words[:longest]}… ({len(words):,} characters; --debug shows all)"
