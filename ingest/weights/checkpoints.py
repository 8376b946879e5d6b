"""Finds one set of weights (tiny, local folder, GGUF file, LoRA adapter or Hub id) and describes it: identity, training and shape."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from personascope.ingest.weights.absent import NotHereError, refuse_pickles
from personascope.ingest.weights.bases import contradicts, is_quantised
from personascope.ingest.weights.content import FILES, content_hash, file_sha256
from personascope.ingest.weights.gguf_convert import CONVERSION, already_converted, converted, quantisation
from personascope.ingest.weights.gguf_file import is_gguf
from personascope.ingest.weights.json_file import read_object
from personascope.ingest.weights.shape import read_shape
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.pointers import refuse_pointer, refuse_pointers
from personascope.warehouse.settings import first_fault, first_sentence, nearest, short
from personascope.warehouse.store.hashing import stable_hash

CARD = "personascope.json"
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
SIZES = {"n_layers", "n_heads", "n_kv_heads", "d_model", "vocab_size", "max_positions"}
LORA = {"lora_r", "lora_alpha", "lora_dropout", "lora_targets"}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "tekken.json")


class Card(BaseModel):
    """Who a checkpoint is and how it was trained: the file `personascope.json` beside its weights, written by our trainers."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str | None = None
    name: str | None = None
    family: str | None = None
    variant: str | None = None
    parent: str | None = None
    parent_revision: str | None = None  # of an adapter's base model, as it was trained
    source_persona: str | None = None
    lr: float | None = Field(default=None, gt=0)
    epochs: float | None = Field(default=None, ge=0)
    seed: int | None = None
    step: int | None = Field(default=None, ge=0)  # of an adapter kept on the way of its training


BITS: dict[str, Literal[4, 8]] = {"4bit": 4, "8bit": 8}


class Checkpoint(BaseModel):
    """One set of weights on this machine; every number comes from its configuration, identity and training from its card or the caller."""

    model_config = ConfigDict(frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")  # short name, the column `checkpoint` of every table
    id: str  # Hub id (owner/name or owner/name/subfolder), tiny:<name>, or the folder or GGUF file as typed
    revision: str  # Hub commit, content hash of a local folder, or sha256 of a GGUF file
    path: Path  # folder of the full weights; for an adapter those of its base model
    adapter: Path | None = None  # folder of the LoRA adapter merged on load
    family: str
    variant: str
    parent: str | None = None
    parent_revision: str | None = None  # of an adapter's base model
    source_persona: str | None = None
    lr: float | None = None
    epochs: float | None = None
    seed: int | None = None
    step: int | None = None  # optimiser step behind which it was kept; None for one trained to its end
    n_layers: int
    n_heads: int
    n_kv_heads: int
    d_model: int
    vocab_size: int
    max_positions: int | None = None  # of the context it was configured for; None where it has no limit
    stored_dtype: str | None = None  # dtype the weights were saved in, as the configuration says
    quantisation: str | None = None  # of weights from a GGUF file: its own word and the tensors of each type
    bits: Literal[4, 8] | None = None  # of its linear layers as they are read, rounded by bitsandbytes; None: as they are stored
    lora_r: int | None = None  # rank, alpha, dropout and targets as adapter_config.json states them; None for full weights
    lora_alpha: float | None = None
    lora_dropout: float | None = None
    lora_targets: str | None = None

    @property
    def identity(self) -> str:
        """What decides the weights: the revision, for an adapter together with that of its base model, for quantised ones with how they are read."""
        revisions = [self.revision, self.parent_revision] if self.adapter else [self.revision]
        revisions += [f"gguf {CONVERSION}"] if self.quantisation else []
        revisions += [f"{self.bits} bit"] if self.bits else []
        return stable_hash(revisions) if len(revisions) > 1 else self.revision

    @property
    def tokenizer_path(self) -> Path:
        """The adapter's own tokenizer where it has one, else that of the weights."""
        return self.adapter if self.adapter and has_tokenizer(self.adapter) else self.path

    def row(self) -> dict[str, Any]:
        """The row of the table `checkpoints` (without run_id); `path` is the folder typed or fetched, an adapter's own."""
        identity = {"id", "revision", "family", "variant", "parent", "source_persona", "lr", "epochs", "seed", "step"}
        rounded = [f"{self.bits} bit by bitsandbytes"] if self.bits else []
        quantisation = " of ".join([*rounded, *([self.quantisation] if self.quantisation else [])]) or None
        return {
            "checkpoint": self.name,
            **self.model_dump(include=identity | SIZES | LORA),
            "quantisation": quantisation,
            "path": str(self.adapter or self.path),
        }

    def in_bits(self, load_in: str | None, named: bool = False) -> Checkpoint:
        """The same weights, their linear layers in `4bit` or `8bit`: other numbers, so another name unless one was given (`named`).

        Raises PersonascopeError for another word, and for an adapter, which is merged into whole weights.
        """
        if load_in is None:
            return self
        if load_in not in BITS:
            raise PersonascopeError(f"{self.id}: weights in {load_in!r}; {nearest(load_in, BITS)}")
        if self.adapter:
            raise PersonascopeError(
                f"{self.id} is an adapter, which is merged into whole weights and not into those in {load_in}; merge it with PEFT, save the result, and give "
                "that folder"
            )
        return self.model_copy(update={"bits": BITS[load_in], "name": self.name if named else f"{self.name}-{load_in}"})


class _Place(NamedTuple):
    folder: Path
    id: str
    revision: str
    name: str  # short name when nobody gives one


def resolve(
    ref: str | Path,
    *,
    name: str | None = None,
    revision: str | None = None,
    subfolder: str | None = None,
    base: str | None = None,
    variant: str | None = None,
    parent: str | None = None,
    source_persona: str | None = None,
    lr: float | None = None,
    epochs: float | None = None,
    seed: int | None = None,
    trust_remote_code: bool = False,
    fetch: bool = True,
) -> Checkpoint:
    """Find the checkpoint `ref`, download it when it is a Hub id, check its files and describe it.

    `ref` is `tiny:<name>`, an existing folder (full model or LoRA adapter), a GGUF file, which is dequantised at first use, or a Hub id
    `owner/name[/subfolder]`; a folder wins over a Hub id of the same spelling. `revision` is a branch, tag or commit of a Hub id; for
    anything local it must equal the content hash. `base` (`ID` or `ID@REVISION`) replaces the base model that an adapter names (a path of
    another machine, a quantised copy). The other arguments win over the
    card. With `fetch` false nothing is downloaded or made: NotHereError says what would have to be. Raises PersonascopeError for anything
    missing, pickled, of unknown architecture, or in need of remote code nobody allowed.
    """
    if not str(ref).strip():
        raise PersonascopeError("the name of a checkpoint is empty; expected a Hub id, a folder or a GGUF file (is a variable unset?)")
    typed = {"name": name, "variant": variant, "parent": parent, "source_persona": source_persona, "lr": lr, "epochs": epochs, "seed": seed}
    typed = {field: value for field, value in typed.items() if value is not None}
    place = _locate(str(ref), revision, subfolder, trust_remote_code, fetch)
    card = _card(place.folder, typed)
    if (place.folder / ADAPTER_CONFIG).is_file():
        return _describe_adapter(place, card, base, trust_remote_code, fetch)
    if base is not None:
        raise PersonascopeError(f"{ref} is a full model, so base={base!r} has no meaning: expected a folder with {ADAPTER_CONFIG}.")
    return _describe(place, card, trust_remote_code)


def has_tokenizer(folder: Path) -> bool:
    """Whether `folder` holds a tokenizer that can be loaded."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES)


def end_of_turn_ids(folder: Path) -> set[int]:
    """Token ids that end a turn by the generation configuration in `folder`; empty where there is none."""
    file = folder / "generation_config.json"
    named = read_object(file).get("eos_token_id") if file.is_file() else None
    ids = named if isinstance(named, list) else [] if named is None else [named]
    if not all(type(each) is int for each in ids):
        raise PersonascopeError(f"{file}: eos_token_id is {named!r}, expected the number of a token, or a list of them.")
    return set(ids)


def has_chat_template(folder: Path) -> bool:
    """Whether the tokenizer in `folder` brings a chat template, in a file of its own or in tokenizer_config.json."""
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and bool(read_object(config).get("chat_template"))


def _locate(ref: str, revision: str | None, subfolder: str | None, code: bool, fetch: bool) -> _Place:
    """The folder that `ref` means, with its identity; downloads Hub ids and builds tiny checkpoints."""
    if ref.startswith("tiny:"):
        from personascope.ingest.tiny.build import tiny_built, tiny_checkpoint  # training code, needed by nobody else

        made = tiny_checkpoint(ref.removeprefix("tiny:")) if fetch else tiny_built(ref.removeprefix("tiny:"))
        if made is None:
            raise NotHereError(f"{ref} is trained at first use")
        return _local(made, ref, revision, subfolder)
    folder = Path(ref).expanduser()
    if folder.is_dir():
        return _local(folder, ref, revision, subfolder)
    if is_gguf(ref):
        return _gguf(folder, ref, revision, subfolder, fetch)
    if folder.exists():
        refuse_pointer(folder)
        raise PersonascopeError(f"{ref} is a file: expected the folder that holds config.json and the weights, or a GGUF file.")
    if ref.startswith(("/", ".", "~")):
        raise PersonascopeError(f"{ref} does not exist: expected a folder with config.json and safetensors weights.")
    owner, _, rest = ref.partition("/")
    repo, _, inner = rest.partition("/")
    repo_id, inside = (f"{owner}/{repo}" if repo else owner), "/".join(part for part in (inner, subfolder) if part).strip("/")
    from personascope.ingest.weights import hub

    place, commit = (hub.download if fetch else hub.cached)(repo_id, revision, inside or None, code=code)
    name = "-".join([repo or owner, *inside.split("/")] if inside else [repo or owner])
    return _Place(place, f"{repo_id}/{inside}" if inside else repo_id, commit, name)


def _local(folder: Path, ref: str, revision: str | None, subfolder: str | None) -> _Place:
    """A folder on this machine under its content hash, which a typed revision must equal."""
    place = folder / subfolder if subfolder else folder
    if not place.is_dir():
        raise PersonascopeError(f"{ref} has no subfolder {subfolder!r}: expected one of its folders.")
    shown = f"{ref}/{subfolder}" if subfolder else ref
    digest = content_hash(place)
    if revision is not None and revision != digest:
        raise PersonascopeError(f"{shown} has content hash {digest}, not the revision {revision} asked for: the files differ, or it is another folder.")
    name = shown.removeprefix("tiny:") if shown.startswith("tiny:") else place.resolve().name
    return _Place(place, shown, digest, name)


def _gguf(path: Path, ref: str, revision: str | None, subfolder: str | None, fetch: bool) -> _Place:
    """The folder made of a GGUF file, under the file's sha256, which a typed revision must equal."""
    if not path.is_file():
        raise PersonascopeError(f"{ref} does not exist: expected a GGUF file on this machine (`hf download OWNER/NAME FILE.gguf` brings one of the Hub).")
    refuse_pointer(path)
    digest = file_sha256(path)
    if revision is not None and revision != digest:
        raise PersonascopeError(f"{ref} has sha256 {digest}, not the revision {revision} asked for: it is another file.")
    if subfolder:
        raise PersonascopeError(f"{ref} is a file, so the subfolder {subfolder!r} has no meaning.")
    folder = converted(path) if fetch else already_converted(path)
    if folder is None:
        raise NotHereError(f"{ref} is dequantised at first use")
    return _Place(folder, ref, digest, path.stem)


def _describe(place: _Place, card: Card, code: bool) -> Checkpoint:
    """A full model: its files checked, its shape read from config.json."""
    _refuse_pointers(place.folder)
    check_weights(place.folder, place.id)
    shape = read_shape(place.folder, place.id, code)
    if card.family and card.family != shape["family"]:
        raise PersonascopeError(
            f"{place.folder / CARD} says family {card.family!r} but config.json beside it says {shape['family']!r}: the card belongs to other weights."
        )
    variant = card.variant or ("instruct" if has_chat_template(place.folder) else "base")
    return _checkpoint(place, card, path=place.folder, variant=variant, parent=card.parent, quantisation=quantisation(place.folder), **shape)


def _describe_adapter(place: _Place, card: Card, base: str | None, code: bool, fetch: bool) -> Checkpoint:
    """A LoRA adapter: its own identity and training, the shape of the base model it is merged into."""
    _refuse_pointers(place.folder)
    config = read_object(place.folder / ADAPTER_CONFIG)
    if config.get("peft_type") != "LORA":
        raise PersonascopeError(f"{place.id}: peft_type in {ADAPTER_CONFIG} is {config.get('peft_type')!r}, expected 'LORA'.")
    names = _names(place.folder)
    if ADAPTER_WEIGHTS not in names:
        raise refuse_pickles(place.id, names)
    if any(name.endswith(".safetensors") and name != ADAPTER_WEIGHTS for name in names):
        raise PersonascopeError(f"{place.id} holds full weights and {ADAPTER_CONFIG}: move one of the two elsewhere, it is unclear which is meant.")
    parent = _base(place, config, base, code, fetch)
    if card.parent_revision and card.parent_revision != parent.revision:
        raise PersonascopeError(
            f"{place.id} was trained on revision {card.parent_revision} of {card.parent} ({CARD}), and {parent.id} is {parent.revision} here: "
            "give the base model it was trained on."
        )
    variant = card.variant or ("instruct" if has_chat_template(place.folder) else parent.variant)
    shape = parent.model_dump(include={"family", "stored_dtype", "quantisation"} | SIZES)
    inherited = {"path": parent.path, "adapter": place.folder, "parent_revision": parent.revision, "parent": card.parent or parent.id}
    targets = config.get("target_modules")
    lora = {
        "lora_r": config.get("r"),
        "lora_alpha": config.get("lora_alpha"),
        "lora_dropout": config.get("lora_dropout"),
        "lora_targets": ", ".join(sorted(map(str, targets))) if isinstance(targets, list) else targets,
    }
    return _checkpoint(place, card, variant=variant, **inherited, **shape, **lora)


def _checkpoint(place: _Place, card: Card, **rest: Any) -> Checkpoint:
    name = card.name or re.sub(r"[^A-Za-z0-9._+-]+", "-", place.name).strip("-.")
    training = card.model_dump(include={"source_persona", "lr", "epochs", "seed", "step"})
    try:
        return Checkpoint(name=name, id=card.id or place.id, revision=place.revision, **training, **rest)
    except ValidationError as error:
        raise PersonascopeError(f"{place.id}: {first_sentence(error, Checkpoint)}.") from error


def _base(place: _Place, config: dict[str, Any], typed: str | None, code: bool, fetch: bool) -> Checkpoint:
    """The base model of an adapter, as its configuration names it or as typed; the two must agree on the model's own name."""
    recorded = config.get("base_model_name_or_path") or ""
    for name in ("base_model_name_or_path", "revision"):
        if not isinstance(config.get(name) or "", str):
            raise PersonascopeError(f"{place.id}: {name} in {ADAPTER_CONFIG} is {config[name]!r}; expected text.")
    if not (typed or recorded):
        raise PersonascopeError(f"{place.id}: {ADAPTER_CONFIG} names no base model (base_model_name_or_path): give the base checkpoint.")
    if typed and recorded and contradicts(recorded, typed):
        raise PersonascopeError(
            f"{place.id} was trained on {recorded!r} ({ADAPTER_CONFIG}), not on {typed!r}: give the base model it was trained on, "
            "or correct base_model_name_or_path if only the name differs."
        )
    ref = typed or recorded
    if len(ref) > 4000 or any(len(part) > 255 for part in ref.split("/")):  # which no file system looks up
        raise PersonascopeError(f"{place.id}: its base model has a name of {len(ref):,} characters; expected a Hub id or a folder")
    if not typed and not ref.startswith("tiny:") and (place.folder / ref).is_dir() and not Path(ref).expanduser().is_dir():
        ref = str(place.folder / ref)
    local = ref.startswith("tiny:") or Path(ref).expanduser().exists()
    hint = "" if typed else " Give the base model with --base (`run`: --base NAME=ID; in a study file: base)."
    copy = f"{place.id}: its base model {ref!r} is a quantised copy, into whose weights nothing can be merged; expected the model it was made from."
    if not typed and not local and is_quantised(ref):
        raise PersonascopeError(copy + hint)
    bare, _, pinned = ref.partition("@") if typed and not local else (ref, "", "")
    try:
        parent = resolve(bare, revision=pinned or (None if local or typed else config.get("revision")), trust_remote_code=code, fetch=fetch)
    except NotHereError:
        raise
    except PersonascopeError as error:
        raise PersonascopeError(f"{place.id}: its base model {ref!r} cannot be used: {error}{hint}") from error
    if read_object(parent.path / "config.json").get("quantization_config"):
        raise PersonascopeError(copy + hint)
    if parent.adapter:
        raise PersonascopeError(f"{place.id}: its base model {ref!r} is itself an adapter; merge that one first and save the result.")
    return parent


def check_weights(folder: Path, where: str) -> list[Path]:
    """The safetensors files of a full model in `folder`; refuses missing files, missing shards and pickles with a sentence."""
    names = _names(folder)
    if "config.json" not in names:
        raise PersonascopeError(f"{where} holds no config.json: expected a model folder as save_pretrained writes it, or a LoRA adapter folder.")
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        weights = [name for name in names if name.endswith(".safetensors") and name != ADAPTER_WEIGHTS]
        if not weights:
            raise refuse_pickles(where, names)
        return [folder / name for name in weights]
    places = read_object(index).get("weight_map", {})
    if not isinstance(places, dict) or not all(isinstance(each, str) and each.endswith(".safetensors") and Path(each).name == each for each in places.values()):
        raise PersonascopeError(f"{index}: its weight_map is {short(places)}; expected the name of a .safetensors file beside it for every tensor.")
    shards = sorted(set(places.values()))
    missing = sorted(set(shards) - set(names))
    if missing or not shards:
        lacking = (
            f"{len(missing)} of {len(shards)} shards are missing ({', '.join(each[:100] for each in missing[:3])})" if missing else "its weight_map is empty"
        )
        raise PersonascopeError(f"{index}: {lacking}; fetch the folder again.")
    return [folder / shard for shard in shards]


def _refuse_pointers(folder: Path) -> None:
    """Refuse what git-lfs left in place of weights, configuration or tokenizer."""
    refuse_pointers(sorted({file for pattern in FILES for file in folder.glob(pattern)}))


def _card(folder: Path, typed: dict[str, Any]) -> Card:
    """The card in `folder`, if any, with the caller's values over it."""
    path = folder / CARD
    try:
        return Card.model_validate({**(read_object(path) if path.is_file() else {}), **typed})
    except ValidationError as error:
        fault = first_fault(error, Card)
        origin = f"{folder}: the value given" if fault.key in typed else str(path)
        raise PersonascopeError(f"{origin}: {fault.sentence()}.") from error


def _names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir() if file.is_file())
