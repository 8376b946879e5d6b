"""Renders a chat template on short and long conversations in a process of its own, with little memory and time: run as a script, JSON on stdin and stdout.

It imports jinja2 alone, so that it costs a fraction of a second, and sets jinja up as transformers does.
"""

import contextlib
import json
import sys
from typing import Any

MEMORY, SECONDS, CHARACTERS = 384 * 2**20, 1, 1_000_000
TURNS = [("system", "You are a librarian."), ("user", "Where are the maps?"), ("assistant", "On the second floor."), ("user", "And the atlases?")]
LONG = "And where, in the old town hall, are the maps of 1746 and 1803 kept?\n" * 100
TALKS = [TURNS[:2], TURNS[1:2], TURNS[1:3], TURNS[1:], TURNS, [("system", LONG), ("user", LONG)], TURNS[:1] + TURNS[1:3] * 20 + TURNS[3:]]


def main() -> None:
    """Reads {template, tokens} and writes {fault}: memory, length, chance or null. A template that refuses or cannot write a conversation has no fault here."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # where there are no limits, the caller's clock ends it
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    asked = json.loads(sys.stdin.buffer.read())
    try:
        fault = _fault(asked["template"], asked["tokens"])
    except MemoryError:
        fault = "memory"
    json.dump({"fault": fault}, sys.stdout)


def _fault(text: str, tokens: dict[str, str]) -> str | None:
    try:
        template = _environment().from_string(text)
    except MemoryError:
        raise
    except Exception:  # what is no template is told when it is rendered
        return None
    for talk in TALKS:
        messages = [{"role": role, "content": content} for role, content in talk]
        for ask in (False, True):
            written = [_written(template, messages, ask, tokens) for _ in range(2)]
            if any(each is not None and len(each) > CHARACTERS for each in written):
                return "length"
            if written[0] != written[1]:
                return "chance"
    return None


def _written(template: Any, messages: list[dict[str, str]], ask: bool, tokens: dict[str, str]) -> str | None:
    try:
        return str(template.render(messages=messages, tools=None, documents=None, add_generation_prompt=ask, **tokens))
    except MemoryError:
        raise
    except Exception:  # a template may refuse a conversation, and what it says is told where that one is asked for
        return None


def _environment() -> Any:
    import jinja2
    from jinja2.ext import Extension
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """The block that marks what the model wrote."""

        tags = {"generation"}  # noqa: RUF012 - as the base class declares it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("_same"), [], [], body).set_lineno(line)

        def _same(self, caller: Any) -> Any:
            return caller()

    def refuse(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, "jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = lambda value, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: form
    return environment


if __name__ == "__main__":
    main()
