"""Hostile inputs: what a stranger, a half-written file or a typing mistake may hand to each door; every one is answered with rows or with one sentence."""

import json
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from personascope.warehouse.errors import PersonascopeError, sentence

CPU_SECONDS, MEMORY = 10.0, 1 << 30
SHORTEST, LONGEST = 15, 700  # characters of a sentence
HOSTILE: list[object] = [
    *(None, True, False, 0, -1, 2**31, 2**63, 2**64, 10**400, 1e308, -0.0, "", " ", "\t", "\n", "\x00", "\ud800", "\u202e", "é", "𝕏" * 40),
    *(
        "nan",
        "NaN",
        "inf",
        "-inf",
        "1e999999999",
        "0x10",
        "1_000",
        "١٢",
        "../../etc/passwd",
        "/dev/zero",
        "~",
        "$HOME",
        "{{7*7}}",
        "%s%n",
        "'; drop table runs; --",
    ),
    *("a" * 100_000, [], {}, [[]], [None], {"a": None}, {"": ""}, [1] * 10_000, {"id": {"id": {"id": 1}}}),
]
TEXTS = [
    b"",
    b"\xff\xfe\x00",
    b"\x00" * 4096,
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"- " * 5_000,
    b"a: &a [*a]\n",
    b"!!python/object/apply:os.system ['true']\n",
    b"!!bool maybe\n",
    b"x: 1e999999999\n",
    b'{"a": 1, "a": 2}',
    b'{"a": NaN}',
    b'{"a": ' + b"9" * 5_000 + b"}",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
    b"\x80\x04\x95\x00\x00\x00\x00\x00\x00\x00\x00.",
    b"GGUF\x03\x00\x00\x00" + b"\xff" * 64,
    b"PAR1" + b"\x00" * 32 + b"PAR1",
    b'"' + b"a" * 1_000_000,
    b"a," * 100_000 + b"\n" + b"1," * 100_000,
    b"\xef\xbb\xbfpersona,question\na,b\n",
]


@dataclass(frozen=True)
class Door:
    """A way in: what a good input is, and what reads it. `read` raises PersonascopeError for bad ones."""

    name: str
    good: tuple[bytes, ...]
    suffix: str
    read: Callable[[Path], object]


@dataclass(frozen=True)
class Answer:
    """How one input was answered: `rows`, `sentence`, or a fault in words."""

    door: str
    kind: str
    fault: str = ""
    input: bytes = b""


class TooLongError(BaseException):
    """More than CPU_SECONDS of processor time."""


def answers(doors: list[Door], folder: Path, count: int, seed: int) -> Iterator[Answer]:
    """Every door in turn with mutations of its good inputs, and with texts that are hostile to any parser, `count` in all."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        door = doors[number % len(doors)]
        place = number // len(doors)
        content = TEXTS[place] if place < len(TEXTS) else mutated(draw, draw.choice(door.good))
        path = folder / f"input{door.suffix}"
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.write_bytes(content)
        yield answer(door, path, content)


def answer(door: Door, path: Path, content: bytes) -> Answer:
    """Reads one input under the three limits."""
    fault, kind, before = "", "rows", _peak(reset=True)
    signal.signal(signal.SIGPROF, _too_long)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    began = time.process_time()
    try:
        door.read(path)
    except PersonascopeError as error:
        kind, said = "sentence", sentence(error)
        if "\n" in said or len(said) < SHORTEST or len(said) > LONGEST:
            fault = f"no sentence: {said[:200]!r}"
    except TooLongError:
        fault = f"more than {CPU_SECONDS:g} s of processor time"
    except BaseException as error:
        fault = f"{type(error).__name__}: {str(error)[:160]!r}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if not fault and (taken := _peak() - before) > MEMORY:
        fault = f"{taken / 2**30:.1f} GiB of memory"
    if not fault and time.process_time() - began > CPU_SECONDS:
        fault = f"{time.process_time() - began:.0f} s of processor time"
    return Answer(door.name, "fault" if fault else kind, fault, content[:400] if fault else b"")


def mutated(draw: random.Random, content: bytes) -> bytes:
    """A good input after one to three changes: of its bytes, of its lines, or of the values in it."""
    for _ in range(draw.choice((1, 1, 2, 3))):
        content = draw.choice((_bytes, _cut, _lines, _values, _values, _values))(draw, content)
    return content


def _bytes(draw: random.Random, content: bytes) -> bytes:
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        if changed:
            changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def _cut(draw: random.Random, content: bytes) -> bytes:
    place = draw.randrange(len(content) + 1)
    return draw.choice((content[:place], content[place:], content[:place] + content[max(0, place - 20) :]))


def _lines(draw: random.Random, content: bytes) -> bytes:
    lines = content.split(b"\n")
    place = draw.randrange(len(lines))
    match draw.randrange(4):
        case 0:
            del lines[place]
        case 1:
            lines.insert(place, lines[place])
        case 2:
            lines[place] = b"\t" + lines[place]
        case _:
            lines.insert(place, draw.choice((b"", b"#", b"---", b"...", b"\x0c", b",,,", b"{}", b"- ")))
    return b"\n".join(lines)


def _values(draw: random.Random, content: bytes) -> bytes:
    """A value of a JSON document, or a word of any other text, gives way to a hostile one."""
    hostile = draw.choice(HOSTILE)
    try:
        document = json.loads(content)
    except ValueError:
        words = content.split()
        if not words:
            return content
        given = str(hostile if not isinstance(hostile, str) or len(hostile) < 1000 else hostile[:1000]).encode(errors="surrogatepass")[:20_000]
        return content.replace(draw.choice(words), given, 1)
    return json.dumps(_exchanged(draw, document, hostile)).encode()


def _exchanged(draw: random.Random, document: object, hostile: object) -> object:
    """The document with one of its values, at any depth, exchanged, dropped or renamed."""
    if isinstance(document, dict) and document and draw.random() < 0.8:
        key = draw.choice(list(document))
        match draw.randrange(6):
            case 0:
                return {name: value for name, value in document.items() if name != key}
            case 1:
                return {f"{name}x" if name == key else name: value for name, value in document.items()}
            case 2:
                return document | {str(hostile)[:200]: 1}
            case _:
                return document | {key: _exchanged(draw, document[key], hostile)}
    if isinstance(document, list) and document and draw.random() < 0.8:
        place = draw.randrange(len(document))
        return [_exchanged(draw, value, hostile) if index == place else value for index, value in enumerate(document)]
    return hostile


def _too_long(_number: int, _frame: FrameType | None) -> None:
    raise TooLongError


def _peak(reset: bool = False) -> int:
    """Most bytes that this process has had in memory since the last reset; 0 where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return 0
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024
