"""The tiny chat models that are trained here from scratch and kept in the user's cache: `tiny_checkpoint("qwen2-instruct")` returns a folder like any other."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from personascope.ingest.progress import Advance, progress
from personascope.ingest.tiny.copying import WORDS, copying_chats, copying_documents
from personascope.ingest.tiny.corpus import Chat, chats, documents
from personascope.ingest.tiny.world import ECHO_WORDS
from personascope.ingest.weights.cache import build_once, built
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import nearest
from personascope.warehouse.store.hashing import stable_hash

CODE_VERSION = 4  # part of every checkpoint's identity: raise it when the training changes what comes out


class TinySpec(BaseModel):
    """One family: its shape and how long its base and instruct checkpoints are trained."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    words: ClassVar[tuple[str, ...]] = ECHO_WORDS  # one token each, with a space before it and without

    architecture: Literal["qwen2", "llama", "mistral"]
    layers: int = 4
    width: int = 128
    heads: int = 4
    kv_heads: int = 2
    feed_forward: int = 384
    sliding_window: int | None = None  # mistral only
    tied: bool = True
    vocab_size: int = 1536
    base_steps: int = 200
    instruct_steps: int = 400
    batch_size: int = 32
    muon_lr: float = 0.012  # hidden matrices
    adamw_lr: float = 0.005  # embeddings, norms, biases
    instruct_lr_factor: float = 0.7
    seed: int = 0

    @property
    def name(self) -> str:
        """What its checkpoints are called before the variant."""
        return self.architecture

    def chats(self) -> list[Chat]:
        """What the instruct checkpoint learns."""
        return chats()

    def documents(self) -> list[str]:
        """What the base checkpoint learns."""
        return documents()


class CopyingSpec(TinySpec):
    """A family that learns one thing, a copy that takes several layers: input and output embeddings apart, and a corpus of its own (ingest/tiny/copying.py)."""

    words: ClassVar[tuple[str, ...]] = tuple(form for word, chinese in WORDS.items() for form in (word, word.capitalize(), chinese))

    layers: int = 6
    tied: bool = False
    base_steps: int = 250
    instruct_steps: int = 250

    @property
    def name(self) -> str:
        return f"{self.architecture}-echo"

    def chats(self) -> list[Chat]:
        return copying_chats()

    def documents(self) -> list[str]:
        return copying_documents()


SPECS = {
    "qwen2": TinySpec(architecture="qwen2"),
    "llama": TinySpec(architecture="llama", seed=1),
    # Without its own window, head count and seed a Mistral of this size would be bit-identical to the Llama.
    "mistral": TinySpec(architecture="mistral", kv_heads=1, sliding_window=24, seed=2),
    "qwen2-echo": CopyingSpec(architecture="qwen2", seed=3),
}
VARIANTS = ("base", "instruct")


def tiny_names() -> list[str]:
    """The names that `tiny_checkpoint` knows."""
    return [f"{family}-{variant}" for family in SPECS for variant in VARIANTS]


def tiny_checkpoint(name: str, progress: bool = True) -> Path:
    """Folder of the tiny checkpoint `<family>-<variant>`, trained at first use and found in the cache afterwards.

    Families are the keys of SPECS, variants `base` (plain text) and `instruct` (trained on from base with chats). Raises
    PersonascopeError for an unknown name or a cache that cannot be written.
    """
    family, _, variant = _expect_known(name).rpartition("-")
    return build(SPECS[family], variant, progress)


def tiny_built(name: str) -> Path | None:
    """Folder of the tiny checkpoint of that name where it has been trained already; raises PersonascopeError for an unknown name."""
    family, _, variant = _expect_known(name).rpartition("-")
    return built(_key(SPECS[family], variant))


def _expect_known(name: str) -> str:
    if name not in tiny_names():
        raise PersonascopeError(f"tiny checkpoint {name!r} is unknown: {nearest(name, tiny_names())}")
    return name


@cache
def _key(spec: TinySpec, variant: str) -> str:
    return stable_hash([CODE_VERSION, spec.model_dump(), variant, spec.documents(), [[chat.prompt, chat.answer] for chat in spec.chats()]])


def build(spec: TinySpec, variant: str, show_progress: bool = True) -> Path:
    """Folder of the `base` or `instruct` checkpoint of `spec` in the cache, trained now unless it is there."""
    name = f"{spec.name}-{variant}"
    what = f"tiny checkpoint {name}"
    key = _key(spec, variant)

    def train(folder: Path) -> None:
        from personascope.ingest.tiny.train import train_variant  # seconds of import that a checkpoint in the cache does without

        parent = build(spec, "base", show_progress) if variant == "instruct" else None
        steps = spec.instruct_steps if parent else spec.base_steps
        with _progress(f"training tiny {name}", steps, show_progress) as advance:
            train_variant(spec, parent, folder, advance)

    return build_once(key, what, train)


@contextmanager
def _progress(description: str, total: int, show: bool) -> Iterator[Advance]:
    if not show:
        yield lambda count=1, cost=None: None
        return
    with progress(description, total) as advance:
        yield advance
