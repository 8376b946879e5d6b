"""The content of a chat message as files hold it: text, or parts of text as OpenAI's API and inspect_ai write them."""

from typing import Any


def texts_of(content: Any) -> list[str] | str:
    """The parts of text of a message's content, or what kind of thing it holds besides."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": content}]
    for part in parts:
        if not isinstance(part, dict):
            return type(part).__name__
        if part.get("type") != "text" or not isinstance(part.get("text"), str):
            return str(part.get("type"))
    return [part["text"] for part in parts]
