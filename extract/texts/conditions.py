"""The gate of a comparison of system prompts: before any forward pass, all conditions and personas of a question must give different tokens."""

from collections.abc import Sequence
from itertools import combinations
from typing import Any

from personascope.extract.texts.chat import RenderedPrompt, holds_text
from personascope.ingest.prompts import NO_SYSTEM_TURN, Prompt
from personascope.warehouse.errors import PersonascopeError

SHOWN_TOKENS = 48


def check_conditions(rendered: Sequence[tuple[Prompt, RenderedPrompt]], tokenizer: Any) -> list[str]:
    """One line a condition that says what the chat template made of it, with the tokens: whether it inserted or dropped a system turn.

    Prompts that differ in their condition only are compared, and those that differ in their persona only. Raises PersonascopeError where two of them give the
    same tokens, naming both, why, and the tokens: a comparison of the two would be one of a prompt with itself.
    """
    _check_personas(rendered, tokenizer)
    groups: dict[tuple[str | None, ...], dict[str, tuple[Prompt, RenderedPrompt]]] = {}
    for prompt, text in rendered:
        if prompt.condition is not None:
            key = (prompt.persona, prompt.category, prompt.question_id, prompt.prompt_form, prompt.target)
            groups.setdefault(key, {})[prompt.condition] = prompt, text
    told: dict[str, str] = {}
    for group in groups.values():
        for condition, (prompt, text) in group.items():
            if condition not in told:
                told[condition] = f"condition {condition}: {_what_happened(prompt, text, tokenizer)}; {_shown(text, tokenizer, text.n_system)}"
        for (prompt, text), (other, twin) in combinations(group.values(), 2):
            if text.token_ids == twin.token_ids:
                raise PersonascopeError(
                    f"conditions {prompt.condition!r} and {other.condition!r} of question {prompt.question_id} give the same {text.prompt_len} tokens, "
                    f"expected different ones: under {prompt.condition!r} {_what_happened(prompt, text, tokenizer)}, under {other.condition!r} "
                    f"{_what_happened(other, twin, tokenizer)}; {_shown(text, tokenizer, text.prompt_len)}"
                )
    return list(told.values()) if len(told) > 1 else []


def _check_personas(rendered: Sequence[tuple[Prompt, RenderedPrompt]], tokenizer: Any) -> None:
    """Refuses two personas that a question reaches as the same tokens."""
    first: dict[tuple[Any, ...], Prompt] = {}
    for prompt, text in rendered:
        other = first.setdefault((prompt.question_id, prompt.condition, prompt.category, prompt.prompt_form, text.token_ids), prompt)
        if other.persona != prompt.persona:
            raise PersonascopeError(
                f"personas {other.persona!r} and {prompt.persona!r} give the same {text.prompt_len} tokens for question {prompt.question_id}, expected "
                f"different ones: under {other.persona!r} {_what_happened(other, text, tokenizer)}, under {prompt.persona!r} "
                f"{_what_happened(prompt, text, tokenizer)}; is there a column system_prompt? {_shown(text, tokenizer, text.prompt_len)}"
            )


def _what_happened(prompt: Prompt, text: RenderedPrompt, tokenizer: Any) -> str:
    """What was asked for, and what the template did with it."""
    block = holds_text(text.token_ids[: text.n_system], tokenizer)
    if prompt.system_prompt == NO_SYSTEM_TURN:
        return "no system turn is written"
    if prompt.system_prompt is None:
        return f"no system message is given and the template inserts {'a system turn by itself' if block else 'none'}"
    if not prompt.system_prompt.strip():
        return f"an empty system message is given and the template {'writes a system turn for it' if block else 'drops it'}"
    return f"a system message of {len(prompt.system_prompt)} characters is given"


def _shown(text: RenderedPrompt, tokenizer: Any, count: int) -> str:
    """The first tokens, each as its text."""
    shown = text.token_ids[: min(count, SHOWN_TOKENS)]
    pieces = [tokenizer.decode([token], skip_special_tokens=False, clean_up_tokenization_spaces=False) for token in shown]
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    return f"{count} tokens {pieces}{more}" if count else "0 tokens before the user's turn"
