"""Puts a PDF of the chart library in one order: it numbers fonts, graphics states and objects at random, so that equal drawings have unequal bytes.

Only files as that library writes them are understood: one entry of a dictionary a line, plain cross-reference table, streams with their length in place.
"""

import re
import zlib
from collections.abc import Callable

_REFERENCE = re.compile(rb"\b(\d+) 0 R\b")
_RESOURCE = re.compile(rb"/((?:fo|gs|xo|cs|pt|sh)(\d+))\b")
_ENTRIES = re.compile(rb"(?:^[ ]+/(?:fo|gs|xo|cs|pt|sh)\d+ [^\n]*\n)+", re.MULTILINE)
_STREAM = re.compile(rb"(.*?\nstream\r?\n)(.*)(\r?\nendstream.*)", re.DOTALL)


def ordered(pdf: bytes) -> bytes:
    """The same document with its resources numbered by first use and its objects by first mention; what cannot be read so comes back as it was."""
    try:
        return _ordered(pdf)
    except (KeyError, ValueError, zlib.error):
        return pdf


def _ordered(pdf: bytes) -> bytes:
    objects = _objects(pdf)
    trailer = pdf[pdf.rindex(b"trailer") :]
    roots = [int(number) for number in _REFERENCE.findall(trailer)]
    for number, body in list(objects.items()):
        contents = re.search(rb"/Contents (\d+) 0 R", body)
        if contents is not None:
            stream = int(contents[1])
            names = _names(_read(objects[stream]))
            objects[number], objects[stream] = _renamed(body, names), _rewritten(objects[stream], names)
        elif b"/Subtype /Form" in body.partition(b"stream")[0]:
            names = _names(_read(body))
            objects[number] = _rewritten(_renamed(body, names), names)
    places: dict[int, int] = {}
    waiting = list(roots)
    while waiting:
        number = waiting.pop(0)
        if number not in places:
            places[number] = len(places) + 1
            waiting = [*(int(each) for each in _REFERENCE.findall(_head(objects[number]))), *waiting]
    return _written(pdf[: min(_offsets(pdf).values())], [_moved(objects[number], places) for number in places], _REFERENCE.sub(_to(places), trailer))


def _offsets(pdf: bytes) -> dict[int, int]:
    """Where each object starts."""
    return {int(found[1]): found.start(1) for found in re.finditer(rb"^(\d+) 0 obj$", pdf[: pdf.rindex(b"xref\n", 0, pdf.rindex(b"trailer"))], re.MULTILINE)}


def _objects(pdf: bytes) -> dict[int, bytes]:
    starts = sorted((start, number) for number, start in _offsets(pdf).items())
    ends = [*(start for start, _ in starts[1:]), pdf.rindex(b"xref\n", 0, pdf.rindex(b"trailer"))]
    return {number: pdf[start:end].split(b"obj\n", 1)[1].rsplit(b"endobj", 1)[0] for (start, number), end in zip(starts, ends, strict=True)}


def _head(body: bytes) -> bytes:
    """An object without its stream."""
    found = _STREAM.match(body)
    return found[1] if found else body


def _read(body: bytes) -> bytes:
    found = _STREAM.match(body)
    return zlib.decompress(found[2]) if found else b""


def _names(content: bytes) -> dict[bytes, bytes]:
    """New name of every resource, numbered by first use within its kind."""
    names: dict[bytes, bytes] = {}
    for name, number in _RESOURCE.findall(content):
        if name not in names:
            kind = name[: -len(number)]
            names[name] = kind + str(sum(each.startswith(kind) for each in names)).encode()
    return names


def _renamed(body: bytes, names: dict[bytes, bytes]) -> bytes:
    """An object with the entries of its resource dictionary renamed and in order."""
    head = _head(body)
    renamed = _RESOURCE.sub(lambda found: b"/" + names.get(found[1], found[1]), head)
    return _ENTRIES.sub(lambda found: b"".join(sorted(found[0].splitlines(keepends=True))), renamed) + body[len(head) :]


def _rewritten(body: bytes, names: dict[bytes, bytes]) -> bytes:
    """An object whose stream uses the new names."""
    found = _STREAM.match(body)
    if found is None:
        return body
    content = zlib.compress(_RESOURCE.sub(lambda each: b"/" + names.get(each[1], each[1]), zlib.decompress(found[2])), 9)
    return re.sub(rb"/Length \d+", b"/Length " + str(len(content)).encode(), found[1], count=1) + content + found[3]


def _moved(body: bytes, places: dict[int, int]) -> bytes:
    head = _head(body)
    return _REFERENCE.sub(_to(places), head) + body[len(head) :]


def _to(places: dict[int, int]) -> Callable[[re.Match[bytes]], bytes]:
    return lambda found: str(places[int(found[1])]).encode() + b" 0 R"


def _written(start: bytes, bodies: list[bytes], trailer: bytes) -> bytes:
    parts, offsets, at = [start], [], len(start)
    for number, body in enumerate(bodies, 1):
        offsets.append(at)
        parts.append(str(number).encode() + b" 0 obj\n" + body.rstrip(b"\n") + b"\nendobj\n\n")
        at += len(parts[-1])
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = re.sub(rb"/Size \d+", b"/Size %d" % (len(bodies) + 1), trailer)
    trailer = re.sub(rb"startxref\n\d+", b"startxref\n%d" % at, trailer)
    return b"".join([*parts, b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1), table, trailer])
