"""The base model that an adapter's record names: whether a typed one can be meant by it, and whether it is a quantised copy that nothing can be merged into."""

import re

_QUANTISED = re.compile(r"(?:-unsloth)?-(?:bnb-)?(?:(?:4|8)-?bits?|int[48]|nf4|fp8|awq|gptq(?:-int[48])?|gguf|bnb)$")
_HUB_CACHE = re.compile(r"models--(?:[^/\\]+--)?([^/\\]+)[/\\]snapshots[/\\]")
_PATH = re.compile(r"[/\\.~]|[A-Za-z]:[/\\]")


def own_name(ref: str) -> str:
    """The model's own name in a Hub id, path, folder of the Hub's cache or tiny:NAME, in lower case and without what says that it was quantised."""
    cached = _HUB_CACHE.search(ref)
    name = (cached[1] if cached else re.split(r"[/:\\]", ref.partition("@")[0].rstrip("/\\"))[-1]).lower()
    while (bare := _QUANTISED.sub("", name)) != name:
        name = bare
    return name


def contradicts(recorded: str, typed: str) -> bool:
    """Whether `typed` cannot be the model recorded: other names of the Hub. A folder of another machine may be called anything."""
    comparable = bool(_HUB_CACHE.search(recorded)) or not _PATH.match(recorded)
    return comparable and own_name(recorded) != own_name(typed) and not (_PATH.match(typed) and not _HUB_CACHE.search(typed))


def is_quantised(ref: str) -> bool:
    """Whether a Hub id is by its name a quantised copy of a model."""
    return bool(_QUANTISED.search(ref.lower()))
