"""A checkpoint's chat template: which one it is, whether rendering it is bounded and gives the same text each time, and the date that it may write."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from personascope.extract.texts import template_probe
from personascope.ingest.weights.content import memory, remember
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.settings import Origin, Parameter, short

DATE = Parameter(name="date", value="2024-07-26")
"""Today in every template that asks for it, unless another date is given: a run repeated tomorrow reads the same tokens. Llama's own fallback."""

_VERSION = 2  # raise it when the probe changes what it finds
_PATIENCE = 30  # seconds by the clock, for a busy machine and systems without limits
_CLOCK = "strftime_now"
_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")


def given_date(text: object, origin: Origin) -> Parameter:
    """The date to write, as given; raises PersonascopeError for what is no date."""
    try:
        return Parameter(name="date", value=date.fromisoformat(str(text)).isoformat(), origin=origin)
    except ValueError as error:
        raise PersonascopeError(f"date {str(text)!r}: expected a day as 2024-07-26") from error


def writes_date(folder: Path) -> bool:
    """Whether a chat template of the tokenizer in `folder` asks for the present day."""
    files = [folder / name for name in _FILES]
    return any(_CLOCK in file.read_text(encoding="utf-8", errors="replace") for file in files if file.is_file())


def clock(day: str) -> Callable[[str], str]:
    """What templates call for the present time: always the beginning of `day`."""
    return datetime.fromisoformat(day).strftime


def template_of(tokenizer: Any, name: str) -> str:
    """The chat template that persona prompts are rendered with, once it has been seen to be bounded; raises PersonascopeError where there is none."""
    known = tokenizer.chat_template
    if not known:
        raise PersonascopeError(f"{name} has no chat template, so a persona prompt cannot be rendered for it")
    if isinstance(known, dict) and "default" not in known:
        raise PersonascopeError(
            f"{name} has chat templates for {', '.join(map(str, known))} and none called default; expected one that writes plain conversations"
        )
    template = known["default"] if isinstance(known, dict) else known
    if not isinstance(template, str):
        raise PersonascopeError(f"{name} has {short(template)} in place of a chat template; expected text")
    _check_bounded(template, json.dumps({key: str(value) for key, value in tokenizer.special_tokens_map.items()}, sort_keys=True), name)
    return template


@lru_cache(maxsize=64)
def _check_bounded(template: str, tokens: str, name: str) -> None:
    """Refuses a template that eats memory or time or draws lots; what was found good is remembered in the user's cache folder."""
    place = memory("templates", [_VERSION, version("jinja2"), template, tokens])
    if place.is_file():
        return
    asked = json.dumps({"template": template, "tokens": json.loads(tokens)})
    try:
        done = subprocess.run([sys.executable, "-I", template_probe.__file__], input=asked.encode(), capture_output=True, timeout=_PATIENCE, check=False)
        fault = json.loads(done.stdout)["fault"] if done.returncode == 0 else "time" if -done.returncode in (signal.SIGXCPU, signal.SIGKILL) else "crash"
    except subprocess.TimeoutExpired:
        fault = "time"
    except (OSError, ValueError, KeyError) as error:
        raise PersonascopeError(f"the chat template of {name} cannot be tried out ({one_line(error)})") from error
    if fault is None:
        remember(place, {"good": True})
        return
    raise PersonascopeError(f"the chat template of {name} {_WORDS[fault]}; expected one that writes a conversation of a few words and nothing else")


_WORDS = {
    "memory": f"needs more than {template_probe.MEMORY >> 20} MiB of memory",
    "time": f"takes more than {template_probe.SECONDS} s",
    "length": f"writes more than {template_probe.CHARACTERS:,} characters",
    "chance": "writes something else each time it is used",
    "crash": "ends the process that renders it",
}
