"""Encodes activations at chosen places by sparse autoencoders, and projects them on decoder directions of named and of random features."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import Field, field_validator
from torch import Tensor

from personascope.extract.extractors.places import PlaceSettings, PlacesExtractor, Stratum, Text, input_hash, items_of
from personascope.extract.instruments.residual import ResidualStream, Site, residual_stream
from personascope.extract.instruments.sae_encoding import decode, encode, placed, unexplained
from personascope.extract.job import Item
from personascope.extract.workload import Shape, Texts, Workload
from personascope.ingest.sae.autoencoder import Inference, Rule, Sae, unit_rows
from personascope.ingest.sae.files import load_sae
from personascope.ingest.sae.source import NAMED_FEATURES, SUBFOLDER, TRAINED, NamedFeature, Source, find_saes, read_named_features
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_hash, stable_seed
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter

Key = tuple[str, str]

FIRING = 64  # features that fire at one place, for plans: the k of the autoencoders that studies name


class FeatureSettings(PlaceSettings):
    """Which autoencoders encode which places, and what is projected."""

    strata: list[Stratum] = Field(default=["last_system", "last"], min_length=1, description="last_system, last; with --tokens-from also marker, answer_mean")
    sae: str = Field(
        default=TRAINED,
        description="folder, Hub id ID[@REVISION], a run of train-sae, or trained: the newest of this checkpoint, this seed first",
    )
    subfolder: str = Field(default=SUBFOLDER, description="where below a folder or Hub id the autoencoder of a layer lies")
    inference: Inference = Field(
        default="auto", description="threshold, topk, or auto: top-k for a TopK autoencoder, else the threshold where there is one, then top-k, then plain ReLU"
    )
    directions: str | list[NamedFeature] | None = Field(
        default=None,
        description="features to project on: CSV with layer, feature, description, or a list of such rows (default: ten of layer 15)",
    )
    random_directions: int = Field(default=1000, ge=0, description="random features to project on beside them, in every layer that has named ones")
    neuronpedia: str | None = Field(
        default=None, description="MODEL/SOURCE of Neuronpedia, {layer} for the layer (default: what the files name, or is known of them)"
    )

    @field_validator("directions", mode="before")
    @classmethod
    def _named(cls, directions: Any) -> Any:
        """Rows of a query or of a list typed, as features."""
        if not isinstance(directions, list):
            return directions
        for row in directions:
            if not isinstance(row, dict) or not {"layer", "feature"} <= row.keys() <= {"layer", "feature", "description"}:
                raise ValueError(f"expected rows with layer, feature and, where known, description, found {row!r}")
        return [NamedFeature(int(row["layer"]), int(row["feature"]), row.get("description")) for row in directions]


class Features(PlacesExtractor):
    """`features`: the sparse-autoencoder features that fire at chosen places, one autoencoder a layer.

    Places with the same input (the last token of a system block is the same for every question) are encoded once, so that they agree to the last bit. Of
    answer_mean the mean activation is encoded, a vector that no token has and autoencoders are not trained on: what fires there is not the mean of what fires
    at the tokens.
    """

    name = "features"
    version = 1
    settings_type = FeatureSettings
    settings: FeatureSettings

    @classmethod
    def workload(cls, settings: FeatureSettings, texts: Texts, shape: Shape) -> Workload:
        places = texts.n * len(settings.strata) * shape.layers(settings.layers)
        rows = {"examples": texts.n, "features": places * FIRING, "feature_examples": places}
        return Workload(texts.tokens, rows, {"feature_examples": 4.0 * shape.d_model})

    @cached_property
    def sources(self) -> list[Source]:
        every = self.settings.layers == "all"
        found = find_saes(self.settings.sae, self.settings.subfolder, self.layers, every, self.job.lake, self.job.checkpoint, self.job.seed)
        return sorted(found, key=lambda source: source.layer)

    @cached_property
    def named(self) -> list[NamedFeature]:
        asked = self.settings.directions
        return asked if isinstance(asked, list) else read_named_features(Path(asked).expanduser() if asked else NAMED_FEATURES)

    def spec(self) -> RunSpec:
        asked = self.settings.model_dump(mode="json", exclude={"directions", "sae", "subfolder"})
        asked |= {
            "layers": [source.layer for source in self.sources],
            "sae": [[source.sae_id, source.revision] for source in self.sources],
            "directions": stable_hash([[each.layer, each.feature, each.description] for each in self.named]),
        }
        spec = self.place_spec(asked)
        trainers = {source.run_id for source in self.sources if source.run_id}
        return spec.model_copy(update={"inputs": sorted({*spec.inputs, *trainers})})

    def prepare(self) -> tuple[Sequence[Item[Text]], Mapping[str, Rows]]:
        saes = {source.layer: self._opened(source) for source in self.sources}
        for source, sae, *_ in saes.values():
            if sae.site is None:
                self.job.say(f"features: the files of {source.sae_id} do not say where they read; resid_post is taken")
        if "answer_mean" in self.strata:
            self.job.say("features: answer_mean encodes the mean activation of an answer, which is not the mean of the features that fire at its tokens")
        texts, known = self.texts()
        if len({text.persona for text in texts}) > 1 and all(text.condition is None for text in texts):
            self.job.say(
                "features: the prompts are told apart by persona and have no column condition, so the tests and views that compare conditions find nothing; "
                "expected the system prompts to compare as conditions"
            )
        known["sae"] = [_sae_row(*each, self.settings.neuronpedia) for each in saes.values()]
        self._rules = {layer: rule for layer, (_, _, rule, _) in saes.items()}
        self._directions = {layer: self._layer_directions(layer, sae) for layer, (_, sae, *_) in saes.items()}
        self._members: dict[Key, list[Text]] = {}
        once = []
        for text in texts:
            places = []
            for place in text.places:
                members = self._members.setdefault((place.stratum, input_hash(text, place)), [])
                members.append(text)
                if len(members) == 1 or place.sample_ix is not None:  # two answers may be the same tokens, but each has a number of its own
                    places.append(place)
            once.append(Text(text.persona, text.condition, text.category, text.question_id, text.example_id, text.token_ids, tuple(places)))
        self.counts |= {f"n_inputs.{stratum}": sum(key[0] == stratum for key in self._members) for stratum in self.strata}
        return items_of(once), known

    def check(self) -> Mapping[str, float]:
        saes = {source.layer: self._opened(source) for source in self.sources}
        self._stream: ResidualStream = residual_stream(self.loaded.model, {site for *_, site in saes.values()})
        device = self.loaded.model.device
        self._saes = {layer: (source, placed(sae, device), rule, site) for layer, (source, sae, rule, site) in saes.items()}
        return self._stream.errors

    def _opened(self, source: Source) -> tuple[Source, Sae, Rule, Site]:
        """An autoencoder with the rule by which its features fire and the site it reads; its matrices stay on the disk where their files can be mapped."""
        sae, d_model = load_sae(source.folder, source.layer), self.job.checkpoint.d_model
        if sae.d_model != d_model:
            raise PersonascopeError(
                f"features: {source.sae_id} encodes activations of {sae.d_model} numbers, and {self.job.checkpoint.name} has {d_model}; "
                "expected an autoencoder of this model"
            )
        try:
            rule = sae.rule(self.settings.inference)
        except PersonascopeError as error:
            raise PersonascopeError(f"features: {source.sae_id}: {error}") from error
        return source, sae, rule, sae.site or "resid_post"  # type: ignore[return-value]

    def _layer_directions(self, layer: int, sae: Sae) -> tuple[pl.DataFrame, Tensor]:
        """The features of a layer to project on (kind, feature, description) and their unit directions [m, d]; none without a named one in the layer."""
        here = [each for each in self.named if each.layer == layer]
        named = [each for each in here if each.feature < sae.n_features]
        self.counts[f"n_named.{layer}"], self.counts[f"n_named_beyond_width.{layer}"] = len(named), len(here) - len(named)
        drawn: list[int] = []
        if named:
            others = np.setdiff1d(np.arange(sae.n_features), [each.feature for each in named])
            generator = np.random.default_rng(stable_seed("random directions", self.job.seed, layer))
            drawn = np.sort(generator.choice(others, min(self.settings.random_directions, len(others)), replace=False)).tolist()
        frame = pl.DataFrame(
            {
                "kind": ["named"] * len(named) + ["random"] * len(drawn),
                "feature": [each.feature for each in named] + drawn,
                "description": [each.description for each in named] + [None] * len(drawn),
            },
            schema={"kind": pl.String, "feature": pl.Int32, "description": pl.String},
        )
        return frame, unit_rows(sae.decoder.pick(torch.tensor(frame["feature"].to_list(), dtype=torch.long)))

    def process(self, items: Sequence[Item[Text]]) -> Mapping[str, Rows]:
        layers = sorted(self._saes)
        columns, vectors = self.read(items, self._stream, layers, {site for *_, site in self._saes.values()})
        places, owner = self._spread(columns)
        tables: dict[str, list[pa.Table]] = {"features": [], "feature_examples": [], "feature_directions": []}
        for layer in layers:
            source, sae, rule, site = self._saes[layer]
            at = vectors[layer, site]
            if not bool(at.isfinite().all()):
                raise PersonascopeError(f"features: {site} of layer {layer} is not finite; expected weights and a dtype that give finite numbers (--dtype)")
            encoded = encode(sae, at, rule)
            left = unexplained(sae, at, decode(sae, encoded, len(at)))
            where = {"sae_id": source.sae_id, "layer": layer, "site": site}
            row, feature, value = (each.cpu().numpy() for each in (encoded.row, encoded.feature, encoded.value))
            active = np.bincount(row, minlength=len(at))
            first = np.concatenate([[0], np.cumsum(active)])
            picked = np.concatenate([np.arange(first[each], first[each + 1]) for each in owner]) if len(owner) else np.zeros(0, dtype=np.int64)
            of_place = np.repeat(np.arange(len(owner)), active[owner])
            tables["features"].append(_rows(places, of_place, where, feature=feature[picked].astype(np.int32), value=value[picked]))
            numbers = at.cpu().numpy()
            figures = {
                "n_active": active[owner].astype(np.int32),
                "norm": at.norm(dim=1).double().cpu().numpy()[owner],
                "unexplained": left.cpu().numpy()[owner],
            }
            table = _rows(places, np.arange(len(owner)), where, **figures)
            tables["feature_examples"].append(table.append_column("vector", _lists(numbers[owner])))
            frame, directions = self._directions[layer]
            if len(frame):
                projections = (at @ directions.to(at.device).T).cpu().numpy()
                table = _rows(places, np.repeat(np.arange(len(owner)), len(frame)), where, projection=projections[owner].ravel())
                for name in frame.columns:
                    column = frame[name].to_arrow()
                    table = table.append_column(name, column.take(pa.array(np.tile(np.arange(len(frame)), len(owner)))))
                tables["feature_directions"].append(table)
        return {name: pa.concat_tables(found) for name, found in tables.items() if found}

    def _spread(self, columns: Mapping[str, list[Any]]) -> tuple[dict[str, pa.Array], np.ndarray]:
        """The columns of every place of the run whose vector is in this batch, and the row of that vector for each."""
        owner: list[int] = []
        spread: dict[str, list[Any]] = {name: [] for name in columns if name != "n_positions"}
        for row, sample_ix in enumerate(columns["sample_ix"]):
            own = sample_ix is not None
            members: Sequence[Any] = [None] if own else self._members[columns["stratum"][row], columns["input_hash"][row]]
            for member in members:
                owner.append(row)
                for name, values in spread.items():
                    values.append(getattr(member, name) if member is not None and name in _OF_TEXT else columns[name][row])
        integers = {"sample_ix", "position"}
        return {name: pa.array(values, pa.int32() if name in integers else pa.string()) for name, values in spread.items()}, np.array(owner, dtype=np.int64)

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        rows = pl.DataFrame(writer.read_staged("feature_examples").select(["layer", "stratum", "n_active", "unexplained"]))
        means = rows.group_by("layer", "stratum").agg(pl.col("n_active").mean(), pl.col("unexplained").mean()).sort("layer", "stratum")
        figures: dict[str, Any] = {}
        for layer, stratum, active, left in means.iter_rows():
            figures |= {f"l0.{layer}.{stratum}": active, f"unexplained.{layer}.{stratum}": left}
        rules = {f"inference.{layer}": rule for layer, rule in self._rules.items()}
        return {**self.counts, "layers": sorted(self._rules), **rules, **figures, **self.self_checks}


_OF_TEXT = ("persona", "condition", "category", "question_id", "example_id")


def _sae_row(source: Source, sae: Sae, rule: Rule, site: Site, neuronpedia: str | None) -> dict[str, Any]:
    threshold = float(sae.threshold.mean()) if rule == "threshold" and sae.threshold is not None else None
    return {
        "sae_id": source.sae_id,
        "layer": source.layer,
        "site": site,
        "source": source.source,
        "revision": source.revision,
        "format": sae.format,
        "architecture": sae.architecture,
        "k": sae.k,
        "n_features": sae.n_features,
        "d_model": sae.d_model,
        "inference": rule,
        "threshold": threshold,
        "neuronpedia": neuronpedia.format(layer=source.layer) if neuronpedia else sae.neuronpedia or source.neuronpedia,
        **sae.figures,
    }


def _rows(places: Mapping[str, pa.Array], index: np.ndarray, where: Mapping[str, Any], **figures: np.ndarray) -> pa.Table:
    """A table of the places at `index`, with the same autoencoder in every row."""
    taken = {name: pc.take(values.dictionary_encode(), pa.array(index)) for name, values in places.items()}
    fixed = {name: pa.repeat(pa.scalar(value, pa.int32() if name == "layer" else pa.string()), len(index)) for name, value in where.items()}
    return pa.table({**taken, **fixed, **{name: pa.array(values) for name, values in figures.items()}})


def _lists(numbers: np.ndarray) -> pa.Array:
    """Rows [n, d] float32 as lists."""
    n, d = numbers.shape
    return pa.ListArray.from_arrays(pa.array(np.arange(0, n * d + 1, d, dtype=np.int32)), pa.array(np.ascontiguousarray(numbers).ravel()))
