"""Renders a chat prompt, finds its regions by rendering with and without each message, and codes every token by region."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Literal, NamedTuple
from unicodedata import category

import jinja2
import numpy as np

from personascope.extract.texts.regions import REGIONS
from personascope.extract.texts.templates import DATE, clock, template_of
from personascope.ingest.prompts import NO_SYSTEM_TURN
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.store.hashing import stable_hash

Rule = Literal["published", "decoded"]
Message = dict[str, str]


class Exchange(NamedTuple):
    """A turn of a conversation: the user's message and the answer that it got."""

    question: str
    answer: str


_EARLIER_USER, _REPLIES = "a", ("b", "c")
_NEWLINES = frozenset({"\n", "\n\n"})
_PUNCTUATION = ("P", "Sm", "Sc", "Sk", "Z", "Cc")


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt as a checkpoint reads it; the first n_system tokens are the system region, then user, then header."""

    text: str
    token_ids: tuple[int, ...]
    n_system: int
    n_user: int
    n_header: int
    template_hash: str
    inserted_system: bool
    turns: tuple[tuple[int, int], ...] = ()
    """Of every earlier answer of a conversation its tokens, [start, stop)."""

    @property
    def prompt_len(self) -> int:
        return len(self.token_ids)

    def columns(self) -> dict[str, Any]:
        """The columns of the table `examples` that rendering fills."""
        return {
            "text": self.text,
            "token_ids": list(self.token_ids),
            "prompt_len": self.prompt_len,
            "n_system": self.n_system,
            "n_user": self.n_user,
            "n_header": self.n_header,
            "template_hash": self.template_hash,
        }


def render(tokenizer: Any, system: str | None, user: str, earlier: Sequence[Exchange] = ()) -> RenderedPrompt:
    """The prompt that asks for a reply to `user` under `system`, behind the `earlier` exchanges of a conversation, tokenised once, with its regions.

    A system of None gives no system message, so the template may insert one by itself; "" gives a message without text; under NO_SYSTEM_TURN the prompt
    is what the template writes without a message, less the system turn it inserts: its beginning-of-text token, the user's turn and the header. A template
    that asks for the present day is told the tokenizer's `rendering_date` (DATE where it has none).

    Regions, in characters and then in tokens:
    - header: what `add_generation_prompt` appends (empty for templates without one, such as Mistral's);
    - user: the user's turn as the template writes it; where the template folds the system text into that turn, from the user's text on;
    - system: everything before, so a beginning-of-text token and a system prompt that the template inserts by itself belong to it.
    In a conversation the user's region reaches from the first user's turn to the last, and `turns` says where earlier answers lie in it.
    Raises PersonascopeError when there is no chat template or no fast tokenizer, when the template rejects or drops a message or writes an earlier turn in
    another way than it was asked in, when a message holds a token with which the template begins or ends turns, or when a token spans two regions.
    """
    template = _template(tokenizer)
    question: Message = {"role": "user", "content": earlier[0].question if earlier else user}
    given = None if system == NO_SYSTEM_TURN else system
    messages = [question] if given is None else [{"role": "system", "content": given}, question]
    for text in (user, *(each.question for each in earlier)):
        if not text.strip():
            raise PersonascopeError(f"the user message is {text!r}, but a prompt needs some text in it")
    said = [("system message", given or ""), *(("user message", each.question) for each in earlier), *(("answer", each.answer) for each in earlier)]
    for what, text in (("user message", user), *said):
        if written := next((each for each in _turn_tokens(tokenizer, template) if each in text), None):
            raise PersonascopeError(
                f"the {what} holds {written}, with which the chat template of {_name(tokenizer)} itself begins and ends turns; expected the words alone: "
                "a prompt that is rendered already is a text, not a question"
            )
    asked = _rendered(tokenizer, messages, ask=True)
    user_end = _user_end(tokenizer, messages, asked)
    user_start = _user_start(tokenizer, messages, asked[:user_end], asked[user_end:])
    answers: list[tuple[int, int]] = []
    if earlier:
        asked, user_end, answers = _continued(tokenizer, messages, earlier, user)
    if system == NO_SYSTEM_TURN:
        kept = _begin_of_text(tokenizer, asked, user_start)
        cut = user_start - kept
        asked, user_start, user_end = asked[:kept] + asked[user_start:], kept, user_end - cut
        answers = [(start - cut, stop - cut) for start, stop in answers]
    elif given is not None and given.strip() not in asked[:user_start]:
        raise PersonascopeError(f"the chat template of {_name(tokenizer)} leaves out the system message {given[:40]!r}: it writes {asked!r}")
    token_ids, regions = _tokenised(tokenizer, asked, (user_start, *chain.from_iterable(answers), user_end))
    header = 2 * len(answers) + 2
    n_system, n_header = regions.count(0), regions.count(header)
    n_user = len(regions) - n_system - n_header
    if regions != sorted(regions) or not n_user:
        raise PersonascopeError(
            f"the tokens of {_name(tokenizer)} do not fall into system, user and header in this order ({n_system}, {n_user} and {n_header} tokens)"
        )
    inserted = system is None and holds_text(token_ids[:n_system], tokenizer)
    turns = tuple((bisect_left(regions, region), bisect_right(regions, region)) for region in range(2, header, 2))
    return RenderedPrompt(asked, token_ids, n_system, n_user, n_header, stable_hash(template), inserted, turns)


@lru_cache(maxsize=8)
def _turn_tokens(tokenizer: Any, template: str) -> tuple[str, ...]:
    """The special tokens that its template writes around a conversation of one letter; none where it cannot be rendered without a system message."""
    try:
        told = _rendered(tokenizer, [{"role": "user", "content": "x"}], ask=True) if template else ""
    except PersonascopeError:
        return ()
    return tuple(sorted(entry.content for entry in tokenizer.added_tokens_decoder.values() if entry.special and entry.content in told))


def holds_text(token_ids: Sequence[int], tokenizer: Any) -> bool:
    """Whether some token is neither special nor mere punctuation; a system region without one is no system block (a beginning-of-text token)."""
    return any(token not in special_ids(tokenizer) and any(map(str.isalnum, _decoded(tokenizer, token))) for token in map(int, token_ids))


def answer_end(token_ids: Sequence[int], prompt_len: int, tokenizer: Any) -> int:
    """Where the answer ends: behind its last token that is not special (end of turn, padding); prompt_len for an answer without one."""
    special = special_ids(tokenizer)
    return next((end for end in range(len(token_ids), prompt_len, -1) if token_ids[end - 1] not in special), prompt_len)


def structural_mask(token_ids: Sequence[int], tokenizer: Any, rule: Rule) -> list[bool]:
    """Whether each token is structural, which segmentation B moves from its region to `specials`.

    `published` (issue 224): special tokens and the tokens that are exactly one or two newlines. `decoded` adds every token that holds a
    newline and beside it only white space and punctuation, because tokenizers fuse a paragraph break with the full stop before it.
    """
    if rule not in ("published", "decoded"):
        raise PersonascopeError(f"the structural rule is {rule!r}, expected 'published' or 'decoded'")
    special = special_ids(tokenizer)
    accepts = _is_newline if rule == "published" else _is_break
    return [token in special or accepts(_decoded(tokenizer, token)) for token in map(int, token_ids)]


def region_codes(n_system: int, n_user: int, n_header: int, structural: Sequence[bool]) -> np.ndarray:
    """Index into REGIONS for every token of prompt + completion, int64 [len(structural)]; the whole header keeps one code."""
    total, prompt_len = len(structural), n_system + n_user + n_header
    if min(n_system, n_user, n_header) < 0 or prompt_len > total:
        raise PersonascopeError(f"the regions hold {n_system} + {n_user} + {n_header} tokens, expected counts that fit in {total} tokens")
    names = np.repeat([REGIONS.index(name) for name in ("system", "user", "header", "assistant")], [n_system, n_user, n_header, total - prompt_len])
    shift = REGIONS.index("system_structural") - REGIONS.index("system")
    return np.where(np.asarray(structural, dtype=bool) & (names != REGIONS.index("header")), names + shift, names)


def _name(tokenizer: Any) -> str:
    return tokenizer.name_or_path or type(tokenizer).__name__


def _template(tokenizer: Any) -> str:
    template = template_of(tokenizer, _name(tokenizer))
    if not tokenizer.is_fast:
        raise PersonascopeError(f"{_name(tokenizer)} is a slow tokenizer, but region boundaries need the character offsets of a fast one")
    return template


def _rendered(tokenizer: Any, messages: list[Message], ask: bool = False) -> str:
    day = getattr(tokenizer, "rendering_date", DATE.value)
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask, strftime_now=clock(day))
    except Exception as error:  # a template is a program of others, which raises what it likes
        roles = ", ".join(message["role"] for message in messages)
        says = one_line(error) if isinstance(error, jinja2.TemplateError) else f"{type(error).__name__}: {one_line(error)}"
        absent = [
            name for name in ("tools", "documents") if type(error) is not jinja2.TemplateError and re.search(rf"\b{name}\b", str(tokenizer.chat_template))
        ]
        hint = f"; it asks for {' and '.join(absent)}, which a persona prompt has none of" if absent else ""
        raise PersonascopeError(f"the chat template of {_name(tokenizer)} rejects a conversation of roles {roles}: {says}{hint}") from error


def _begin_of_text(tokenizer: Any, asked: str, user_start: int) -> int:
    """Characters of the beginning-of-text token that stands before the first turn; none where that token only opens turns, as in SmolLM2."""
    begin = tokenizer.bos_token or ""
    if not begin or not asked[:user_start].startswith(begin):
        return 0
    opens_turns = asked[user_start:].startswith(begin) and not asked.startswith(begin + begin)
    return 0 if opens_turns else len(begin)


def _user_end(tokenizer: Any, messages: list[Message], asked: str) -> int:
    """Where the header starts; a template may close a conversation that asks for nothing with the end-of-text token (Phi-3)."""
    told = _rendered(tokenizer, messages)
    for candidate in (told, told.removesuffix(tokenizer.eos_token or "")):
        if asked.startswith(candidate):
            return len(candidate)
    raise PersonascopeError(f"the chat template of {_name(tokenizer)} changes the conversation when a reply is asked for, expected it to append")


def _continued(tokenizer: Any, opening: list[Message], earlier: Sequence[Exchange], user: str) -> tuple[str, int, list[tuple[int, int]]]:
    """A conversation that asks for a reply to `user`: as the template writes it, where its header starts, and where earlier answers lie, in characters.

    An answer lies where the conversation differs from one with another answer. Raises PersonascopeError where a template rewrites what was said before: no
    single pass over such a conversation reads what the model read when it was asked.
    """
    talk = [*opening, {"role": "assistant", "content": earlier[0].answer}]
    for question, answer in earlier[1:]:
        talk += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    talk.append({"role": "user", "content": user})
    asked = _rendered(tokenizer, talk, ask=True)
    places = []
    for turn, exchange in enumerate(earlier):
        words, at = exchange.answer.strip(), len(opening) + 2 * turn
        if not words:
            raise PersonascopeError(f"the answer of turn {turn} is {exchange.answer!r}, but an earlier answer needs some text in it")
        told = _rendered(tokenizer, talk[:at])
        if not any(asked.startswith(each) for each in (told, told.removesuffix(tokenizer.eos_token or ""))):
            raise PersonascopeError(
                f"the chat template of {_name(tokenizer)} writes turn {turn} of a conversation in another way once the conversation goes on, so no single pass "
                "reads what the model read then; expected one that appends"
            )
        other = next(letter for letter in "xyz" if letter not in (words[0], words[-1]))
        twin = _rendered(tokenizer, [*talk[:at], {"role": "assistant", "content": other}, *talk[at + 1 :]], ask=True)
        start, stop = _shared_start(asked, twin), len(asked) - len(_shared_end(asked, twin))
        if asked[start:stop].strip() != words:
            raise PersonascopeError(
                f"the chat template of {_name(tokenizer)} writes the answer of turn {turn} as {asked[start:stop][:80]!r}, expected it as given"
            )
        places.append((start, stop))
    return asked, _user_end(tokenizer, talk, asked), places


def _user_start(tokenizer: Any, messages: list[Message], prompt: str, header: str) -> int:
    """Where the user's turn starts: the turn as written after an earlier exchange, or the user's text if the turn holds the system text."""
    turn = _later_turn(tokenizer, messages[-1], header)
    if turn and prompt.endswith(turn):
        return len(prompt) - len(turn)
    words = messages[-1]["content"].strip()
    other = {"role": "user", "content": "y" if words[0] == "x" else "x"}
    if not messages[0]["content"].strip():  # an empty text folded into the user's turn makes no system block: the turn starts where it does without one
        bare = _rendered(tokenizer, messages[-1:], ask=True)
        start = _user_start(tokenizer, messages[-1:], bare[: _user_end(tokenizer, messages[-1:], bare)], header)
        if prompt[:start] == bare[:start]:
            return start
    start = _shared_start(prompt, _rendered(tokenizer, [*messages[:-1], other]))
    if not turn or len(messages) == 1 or not prompt[start:].lstrip().startswith(words):
        raise PersonascopeError(f"the chat template of {_name(tokenizer)} writes the user message so that its start cannot be found")
    return start


def _later_turn(tokenizer: Any, question: Message, header: str) -> str:
    """The user's turn as it follows a reply ("" if unknown): what two renderings that differ only in the reply share, less its closing."""
    earlier = {"role": "user", "content": _EARLIER_USER}
    talks = [[earlier, {"role": "assistant", "content": reply}] for reply in _REPLIES]
    closing = _shared_end(*(_rendered(tokenizer, talk) for talk in talks))
    asked = [_rendered(tokenizer, [*talk, question], ask=True) for talk in talks]
    tail = _shared_end(*asked).removesuffix(header)
    for candidate in (closing, closing.removesuffix(tokenizer.eos_token or "")):
        if asked[0] != asked[1] and tail.startswith(candidate):
            return tail.removeprefix(candidate)
    return ""


def _shared_start(one: str, other: str) -> int:
    return next((index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _shared_end(one: str, other: str) -> str:
    return one[len(one) - _shared_start(one[::-1], other[::-1]) :]


def _tokenised(tokenizer: Any, text: str, boundaries: tuple[int, ...]) -> tuple[tuple[int, ...], list[int]]:
    """Token ids of `text` and how many boundaries each has behind it; a token may reach over a boundary with white space only."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    regions = []
    for first, last in encoded["offset_mapping"]:
        for boundary in boundaries:
            if first < boundary < last:
                if not text[first:boundary].isspace():
                    raise PersonascopeError(f"{_name(tokenizer)} has one token for {text[first:last]!r}, which spans two regions of its chat template")
                first = boundary
        regions.append(sum(first >= boundary for boundary in boundaries))
    return tuple(encoded["input_ids"]), regions


@lru_cache(maxsize=8)
def special_ids(tokenizer: Any) -> frozenset[int]:
    """Ids of all special tokens, those added to the vocabulary among them."""
    added = (token for token, entry in tokenizer.added_tokens_decoder.items() if entry.special)
    return frozenset(tokenizer.all_special_ids).union(added)


@lru_cache(maxsize=1 << 18)
def _decoded(tokenizer: Any, token: int) -> str:
    return tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False)


def _is_newline(text: str) -> bool:
    return text in _NEWLINES


def _is_break(text: str) -> bool:
    return "\n" in text and all(category(character).startswith(_PUNCTUATION) for character in text)
