"""A conversation as files hold it, a list of messages by role, cut into what was said before, the last question, and the answer to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from personascope.extract.texts.chat import Exchange
from personascope.ingest.records.messages import texts_of
from personascope.warehouse.documents import parse_json
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import short

CALLS = ("tool_calls", "function_call")
"""What a message may hold besides its text that a chat template would write."""


@dataclass(frozen=True)
class Conversation:
    """The system message (None: none among the messages), the exchanges before the last, the last question and the answer that ends the conversation."""

    system: str | None
    earlier: tuple[Exchange, ...]
    question: str
    answer: str

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        return *self.earlier, Exchange(self.question, self.answer)

    @property
    def questions(self) -> list[str]:
        """The user's messages, in order."""
        return [exchange.question for exchange in self.exchanges]


def conversation_of(values: Mapping[str, Any]) -> Conversation | None:
    """The conversation in the column `messages` of a row, a list of {role, content} or the same as JSON text; None for a row without one. A content may stand
    in parts of text ({type: text, text}), as OpenAI's API writes it, which are read as one.

    Where they have no system message the column `system_prompt` may tell of one. Raises PersonascopeError for roles in another order than system (or none),
    user, assistant, user, assistant ..., for what is no text or calls tools, and where the columns question, text and system_prompt say otherwise than the
    messages.
    """
    given = values.get("messages")
    if isinstance(given, str):
        try:
            given = parse_json(given) if given.strip() else None
        except PersonascopeError as error:
            raise PersonascopeError(f"messages: {error}") from error
    if given is None:
        return None
    said = [texts_of(each.get("content")) if isinstance(each, dict) else "" for each in given] if isinstance(given, list) else []
    texts = ["".join(parts) for parts in said if isinstance(parts, list) and parts]
    if not texts or len(texts) < len(said):
        raise PersonascopeError(f"messages is {short(given)}; expected a list of messages, each with a role and a content of text")
    for number, each in enumerate(given):
        if found_calls := next((key for key in CALLS if each.get(key)), None):
            raise PersonascopeError(f"message {number} has {found_calls}; expected text alone, which is all that a prompt would hold of it")
    roles = [each.get("role") for each in given]
    has_system = roles[0] == "system"
    talk = roles[has_system:]
    if not talk or len(talk) % 2 or talk != ["user", "assistant"] * (len(talk) // 2):
        raise PersonascopeError(f"messages of {', '.join(map(str, roles))}; expected system (or none), then user and assistant in turn, the assistant last")
    *earlier, last = [Exchange(*texts[at : at + 2]) for at in range(has_system, len(texts), 2)]
    found = Conversation(texts[0] if has_system else None, tuple(earlier), *last)
    for column, own in (("question", found.question), ("text", found.answer), *([("system_prompt", found.system)] if has_system else [])):
        told = values.get(column)
        if isinstance(told, str) and told.strip() and told != own:
            raise PersonascopeError(f"{column} is {short(told)}, and messages say {short(own)}; expected the same, or messages alone")
    return found
