"""Logs of inspect_ai (`.eval`): a zip archive with one JSON file a sample, read without inspect_ai itself."""

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from personascope.ingest.records.columns import ColumnNames, Record, plain
from personascope.ingest.records.messages import texts_of
from personascope.warehouse.documents import parse_json
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.settings import nearest

STOP_REASONS = {"stop": "stop", "max_tokens": "length", "model_length": "length"}
ATTACHMENT = "attachment://"
HEADER = "header.json"
EMPTY = "<empty>"  # a system message without text, in a cell whose emptiness would let the template decide


class EvalLog:
    """The choices of every sample, in the order of the samples' files: question and system message from the conversation, the rest from `metadata` by name.

    A conversation of several turns is told as `messages` too, with the choice as its last answer. Samples that ended with an error are left out and counted in
    `notes`. Raises PersonascopeError naming file and sample for roles in another order than system (or none), user, assistant, user ..., an answer that is
    more than text, and an archive that is damaged or compressed in a way Python does not read.
    """

    def __init__(self, path: Path, known: ColumnNames) -> None:
        self.path = path
        self.notes: list[str] = []
        untyped = {**{name: name for name in known.names}, **known.spellings}
        self._names = {name: own for name, own in untyped.items() if own not in known.typed} | {plain(theirs): own for own, theirs in known.typed.items()}
        self._typed, self._met = known.typed, set[str]()
        with self._archive() as archive:
            self._model = self._read(archive, HEADER).get("eval", {}).get("model") if HEADER in archive.namelist() else None
            self._samples = sorted(name for name in archive.namelist() if name.startswith("samples/") and name.endswith(".json"))
            failed = [name for name in self._samples if self._read(archive, name).get("error")]
        if not self._samples:
            raise PersonascopeError(f"{path}: no samples in it; expected samples/ID_epoch_N.json, as inspect_ai writes them")
        self._samples = [name for name in self._samples if name not in set(failed)]
        if failed:
            self.notes.append(f"{path}: {len(failed)} samples ended with an error and are left out, the first {failed[0]}")
        first = next(iter(self), None)
        self.columns = self.header = list(first.values) if first else []
        for own, theirs in known.typed.items():
            if first and plain(theirs) not in self._met:
                raise PersonascopeError(
                    f"{path}: --column {own}={theirs}: the metadata of {first.place} has no such name; {nearest(theirs, sorted(self._met))}"
                )

    def __iter__(self) -> Iterator[Record]:
        with self._archive() as archive:
            for name in self._samples:
                try:
                    found = list(self._records(name, self._read(archive, name)))
                except (AttributeError, TypeError, ValueError, KeyError) as error:
                    told = one_line(error)
                    raise PersonascopeError(
                        f"{self.path}, {name}: not a sample as inspect_ai writes it ({told}); expected output.choices and messages"
                    ) from error
                yield from found

    def _archive(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.path)
        except FileNotFoundError:
            raise PersonascopeError(f"{self.path}: no such file") from None
        except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError) as error:
            raise PersonascopeError(f"{self.path}: not a log of inspect_ai ({one_line(error)}); expected the zip archive it writes as .eval") from error

    def _read(self, archive: zipfile.ZipFile, name: str) -> dict[str, Any]:
        try:
            sample = parse_json(archive.read(name), constant=float)
        except PersonascopeError as error:
            raise PersonascopeError(f"{self.path}, {name}: {error}") from error
        except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, ValueError) as error:
            hint = "; `inspect log convert` rewrites a log" if isinstance(error, NotImplementedError) else ""
            raise PersonascopeError(f"{self.path}, {name}: cannot be read ({one_line(error)}){hint}") from error
        if not isinstance(sample, dict):
            raise PersonascopeError(f"{self.path}, {name}: found {type(sample).__name__}, expected the object of a sample")
        return sample

    def _records(self, name: str, sample: dict[str, Any]) -> Iterator[Record]:
        choices = (sample.get("output") or {}).get("choices") or []
        if not choices:
            raise PersonascopeError(f"{self.path}, {name}: no answer in it (output.choices is empty); expected at least one")
        asked = self._asked(name, sample)
        metadata = sample.get("metadata") or {}
        self._met.update(map(plain, metadata))
        named = {self._names[plain(key)]: value for key, value in metadata.items() if plain(key) in self._names}
        epoch = sample.get("epoch", 1)
        for number, choice in enumerate(choices):
            text = self._text(name, choice.get("message") or {}, sample)
            said = {
                "question": asked[-1]["content"],
                "system_prompt": asked[0]["content"] or EMPTY if asked[0]["role"] == "system" and len(asked) == 2 else None,
                "sample_ix": (int(epoch) - 1) * len(choices) + number,
                "text": text,
                "messages": [*asked, {"role": "assistant", "content": text}] if len(asked) > 2 else None,
                "finish_reason": STOP_REASONS.get(str(choice.get("stop_reason"))),
            }
            typed = {own: value for own, value in named.items() if own in self._typed}
            yield Record(name, {"question_id": str(sample.get("id")), "checkpoint": self._model} | named | said | typed)

    def _asked(self, name: str, sample: dict[str, Any]) -> list[dict[str, str]]:
        """What was said before the answer, ending with the question: the messages of the sample without the answer that ends them."""
        messages = sample.get("messages") or []
        given = sample.get("input")
        if not messages:
            messages = given if isinstance(given, list) else [{"role": "user", "content": given}]
        roles = [message.get("role") for message in messages]
        before = len(roles) - (roles[-1] == "assistant")
        talk = roles[roles[0] == "system" : before]
        if not talk or talk != (["user", "assistant"] * len(talk))[: len(talk)] or talk[-1] != "user":
            told = ", ".join(map(str, roles))
            raise PersonascopeError(
                f"{self.path}, {name}: a conversation of {told}; expected system (or none), then user and assistant in turn, and the answer last"
            )
        return [{"role": str(message["role"]), "content": self._text(name, message, sample)} for message in messages[:before]]

    def _text(self, name: str, message: dict[str, Any], sample: dict[str, Any]) -> str:
        if message.get("tool_calls"):
            raise PersonascopeError(f"{self.path}, {name}: the answer calls tools; expected text alone")
        texts = texts_of(message.get("content"))
        if isinstance(texts, str):
            raise PersonascopeError(f"{self.path}, {name}: a message holds {texts!r}; expected text alone")
        return "".join(self._attached(name, text, sample) if text.startswith(ATTACHMENT) else text for text in texts)

    def _attached(self, name: str, text: str, sample: dict[str, Any]) -> str:
        """The text that stands apart from the messages, by its reference."""
        attached = (sample.get("attachments") or {}).get(text.removeprefix(ATTACHMENT))
        if not isinstance(attached, str):
            raise PersonascopeError(f"{self.path}, {name}: a message is {text}, which is not among the sample's attachments; expected its text")
        return attached
