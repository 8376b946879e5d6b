"""Finds the sparse autoencoders that a setting names: a folder, a Hub id pinned to a commit, or what `train-sae` made for a checkpoint of the lake."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from personascope.ingest.records.columns import ColumnNames
from personascope.ingest.records.csv_file import CsvFile
from personascope.ingest.sae.files import FILES, format_of
from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import cache_root
from personascope.warehouse.pointers import refuse_pointer
from personascope.warehouse.store.hashing import folder_hash, stable_hash
from personascope.warehouse.store.lake import Lake

TRAINED = "trained"
TRAINER = "train-sae"
SUBFOLDER = "resid_post_layer_{layer}/trainer_1"
"""Where the repositories of dictionary_learning keep the autoencoder of a layer."""

WEIGHTS = (".npz", ".safetensors", ".pt", ".pth", ".bin")
"""Endings of files that hold an autoencoder's weights in some format."""

PAGES = {("andyrdt/saes-qwen2.5-7b-instruct", SUBFOLDER): "qwen2.5-7b-it/{layer}-resid-post-aa"}
"""MODEL/SOURCE on Neuronpedia of the autoencoders of a repository and subfolder whose own files do not say it."""

NAMED_FEATURES = Path(__file__).with_name("misaligned-persona-features.csv")
"""Ten features of layer 15 of andyrdt/saes-qwen2.5-7b-instruct (trainer_1) that are said to mediate emergent misalignment, as issue 127 lists them."""


@dataclass(frozen=True)
class Source:
    """Where the autoencoder of one layer lies, and what it is called; `run_id` is the run that trained it here, `neuronpedia` its MODEL/SOURCE there."""

    folder: Path
    layer: int
    sae_id: str
    source: str
    revision: str
    run_id: str | None = None
    neuronpedia: str | None = None


@dataclass(frozen=True)
class NamedFeature:
    """A feature that somebody gave a meaning."""

    layer: int
    feature: int
    description: str | None


def find_saes(reference: str, subfolder: str, layers: Sequence[int], every: bool, lake: Lake, checkpoint: Checkpoint, seed: int) -> list[Source]:
    """The autoencoders of `layers` under `reference`, one a layer; with `every`, those of `layers` that are there.

    reference: `trained` (the newest run of train-sae on this checkpoint, one of this seed before others), the name of such a run, an existing folder, or a
    Hub id ID[@REVISION]. A folder is that of an autoencoder itself or holds one per layer under `subfolder`, in which `{layer}` stands for the layer.
    Raises PersonascopeError where one is missing, and for a Hub id with `every`: what is to be downloaded has to be named.
    """
    if reference == TRAINED or (reference.startswith(f"{TRAINER}-") and lake.is_committed(reference)):
        found = _trained(reference, lake, checkpoint, seed)
    elif Path(reference).expanduser().is_dir():
        found = _local(reference, subfolder, layers)
    elif reference.startswith(("/", ".", "~")):
        raise PersonascopeError(f"sae: {reference} does not exist; expected a folder, a Hub id ID[@REVISION], {TRAINED}, or a run of {TRAINER}")
    elif every:
        raise PersonascopeError(f"sae: {reference} is a Hub id, so layers=all would download every autoencoder of it; expected a list of layers")
    else:
        found = _hub(reference, subfolder, layers)
    missing = [layer for layer in layers if layer not in {source.layer for source in found}]
    if (missing and not every) or not found:
        there = ", ".join(str(source.layer) for source in found) or "none"
        raise PersonascopeError(f"sae: {reference} has no autoencoder for layer {(missing or list(layers))[0]} ({subfolder}); the layers it has: {there}")
    return [source for source in found if source.layer in layers]


def trained_folder(run_id: str, layer: int) -> str:
    """Key in the user's cache of the autoencoder that a run of train-sae made for a layer."""
    return stable_hash(["sae", run_id, layer])


def read_named_features(path: Path) -> list[NamedFeature]:
    """A list of features from a CSV file with the columns layer, feature and, where known, description; raises PersonascopeError naming file and line."""
    refuse_pointer(path)
    file = CsvFile(path, ColumnNames(("layer", "feature", "description")))
    missing = [column for column in ("layer", "feature") if column not in file.columns]
    if missing:
        raise PersonascopeError(f"{path}: column {missing[0]!r} is missing; expected layer, feature, description")
    named, seen = [], set()
    for place, row in file:
        layer, feature = row["layer"].strip(), row["feature"].strip()
        if not (layer.isdecimal() and feature.isdecimal()) or (layer, feature) in seen:
            raise PersonascopeError(f"{path}, {place}: layer {layer!r}, feature {feature!r}; expected two whole numbers, no pair twice")
        seen.add((layer, feature))
        named.append(NamedFeature(int(layer), int(feature), row.get("description") or None))
    return named


def _trained(reference: str, lake: Lake, checkpoint: Checkpoint, seed: int) -> list[Source]:
    manifests = lake.manifests() if lake.runs_folder.is_dir() else []
    runs = [run for run in manifests if run.extractor == TRAINER and (run.run_id == reference or reference == TRAINED)]
    if reference == TRAINED:
        runs = [run for run in runs if run.identity.get("checkpoint") == [checkpoint.name, checkpoint.identity]]
    if not runs:
        raise PersonascopeError(f"sae: the lake holds no autoencoder trained on {checkpoint.name}; expected a run of `extract {TRAINER}` before")
    run = max(runs, key=lambda run: (run.seed == seed, run.finished))
    sources = []
    for row in lake.read(run.run_id, "sae", ["sae_id", "layer", "revision"]).to_pylist():
        folder = cache_root() / "checkpoints" / trained_folder(run.run_id, row["layer"])
        if format_of(folder) is None:
            raise PersonascopeError(f"sae: the weights of {run.run_id} are not on this machine ({folder}); `extract {TRAINER} --force` trains them again")
        sources.append(Source(folder, row["layer"], row["sae_id"], run.run_id, row["revision"], run.run_id))
    return sources


def _local(reference: str, subfolder: str, layers: Sequence[int]) -> list[Source]:
    root = Path(reference).expanduser()
    if format_of(root) is not None:
        if len(layers) != 1:
            raise PersonascopeError(f"sae: {reference} is the folder of one autoencoder; expected setting layers to name its one layer")
        return [_described(root, layers[0], reference, root.resolve().name)]
    places = {layer: root / subfolder.format(layer=layer) for layer in layers}
    found = [_described(place, layer, reference, root.resolve().name) for layer, place in places.items() if place.is_dir() and format_of(place)]
    for place in () if found else (root, *places.values()):
        if foreign := sorted(each.name for each in place.glob("*") if each.suffix in WEIGHTS):
            known = "; ".join(" and ".join(names) for names in FILES.values())
            raise PersonascopeError(f"sae: {place} holds {', '.join(foreign[:3])}, no autoencoder of a format that is read here; expected {known}")
    return found


def _described(folder: Path, layer: int, reference: str, name: str) -> Source:
    digest = content_hash(folder)
    return Source(folder, layer, f"{name}-{layer}-{digest[:8]}", reference, digest)


def content_hash(folder: Path) -> str:
    """Digest (16 hex characters) of the files of the autoencoder in `folder`."""
    found = format_of(folder)
    return folder_hash(folder, FILES[found] if found else ())


def _hub(reference: str, subfolder: str, layers: Sequence[int]) -> list[Source]:
    from personascope.ingest.weights.hub import download_files

    repo_id, _, revision = reference.partition("@")
    insides = {layer: subfolder.format(layer=layer) for layer in layers}
    names = [name for files in FILES.values() for name in files]
    snapshot, commit = download_files(repo_id, revision or None, [f"{inside}/{name}" for inside in insides.values() for name in names])
    sources = []
    for layer, inside in insides.items():
        if format_of(snapshot / inside) is not None:
            sae_id = f"{repo_id.rpartition('/')[2]}-{layer}-{stable_hash([commit, inside])[:8]}"
            page = PAGES.get((repo_id, subfolder))
            sources.append(Source(snapshot / inside, layer, sae_id, f"{repo_id}/{inside}", commit, neuronpedia=page and page.format(layer=layer)))
    return sources
