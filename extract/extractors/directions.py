"""Makes directions out of a lake's activations, of autoencoders and of files, with controls of the same length, on one half of the questions."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import polars as pl
import torch

from personascope.extract.extractors.direction_settings import NEWEST, OF_ACTIVATIONS, DirectionSettings, Kind, Wanted, expect, wishes
from personascope.extract.extractors.reading import chosen_layers, runs_of
from personascope.extract.instruments.contrasts import OTHERS, Contrast, Made, Means, NothingSharedError, as_long_as, cosine, in_span, told_apart
from personascope.extract.instruments.directions import Direction, check_directions
from personascope.extract.instruments.residual import SITES, Site
from personascope.extract.job import Extractor, Item
from personascope.extract.texts.halves import half_of
from personascope.extract.workload import Shape, Texts, Workload
from personascope.ingest.directions.files import read_vectors
from personascope.ingest.sae.files import load_sae
from personascope.ingest.sae.source import Source, find_saes
from personascope.ingest.weights.absent import NotHereError
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import nearest
from personascope.warehouse.store.hashing import file_hash, stable_seed
from personascope.warehouse.store.manifest import Manifest, RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter

ACTIVATIONS = "activations"
ROUNDING = 1e-6  # of the length of activations: what equal inputs differ by in batches of different shape


class Brought(NamedTuple):
    """A direction that was made elsewhere."""

    id: str
    kind: Kind
    made_from: str
    vector: np.ndarray


Place = tuple[Site, int]
Halved = Mapping[str, Means]
"""Means by grouping on some of the questions."""


class Directions(Extractor[Place]):
    """`directions`: vectors to read and to steer along, out of activations, autoencoders and files, with controls; loads no weights."""

    name = "directions"
    version = 1
    settings_type = DirectionSettings
    settings: DirectionSettings
    spreads = False  # it reads the lake, and no weights

    @classmethod
    def workload(cls, settings: DirectionSettings, texts: Texts, shape: Shape) -> Workload:
        made = (texts.n if OTHERS in str(settings.make) else 1) + settings.random + settings.random_in_span + settings.shuffled
        rows = made * shape.layers(settings.layers) * len(settings.sites or [1])
        return Workload(0, {"directions": rows}, {"directions": 4.0 * shape.d_model})

    @classmethod
    def own_texts(cls, settings: DirectionSettings) -> Texts:
        return Texts(1, 0)

    @property
    def _renders(self) -> bool:
        return False

    def cost(self, item: Item[Place]) -> float:
        return 0.0

    @cached_property
    def source(self) -> Manifest | None:
        """The run of activations; None where no direction is made of any. Raises PersonascopeError for another checkpoint's."""
        if not set(self.settings.make) & set(OF_ACTIVATIONS) and not self.settings.random_in_span:
            return None
        lake, checkpoint = self.job.lake, self.job.checkpoint
        ours = [checkpoint.name, checkpoint.identity]
        if self.settings.activations != NEWEST:
            run = lake.manifest(lake.find_committed(self.settings.activations))
            if run.extractor != ACTIVATIONS:
                raise PersonascopeError(f"{self.name}: {run.run_id} is a run of {run.extractor}; expected one of activations")
            if run.identity.get("checkpoint") != ours:
                raise PersonascopeError(
                    f"{self.name}: run {run.run_id} holds activations of {run.checkpoint}; expected some of {checkpoint.name} as it is here"
                )
            return run
        runs = [run for run in runs_of(lake, ACTIVATIONS) if run.identity.get("checkpoint") == ours]
        if not runs:
            raise NotHereError(f"{self.name}: the lake holds no activations of {checkpoint.name}; expected a run of `extract activations` before")
        return runs[-1]

    @cached_property
    def stratum(self) -> str:
        """The place whose activations are taken."""
        asked, known = self.settings.stratum, self._source.identity["settings"]["strata"]
        if asked is None and len(known) > 1:
            raise PersonascopeError(f"{self.name}: run {self._source.run_id} has the strata {', '.join(known)}; expected one of them as stratum")
        if asked is not None and asked not in known:
            raise PersonascopeError(f"{self.name}: run {self._source.run_id} has no stratum {asked!r}; {nearest(asked, known)}")
        return asked or known[0]

    @property
    def _source(self) -> Manifest:
        return cast(Manifest, self.source)

    @cached_property
    def layers(self) -> list[int]:
        return chosen_layers(self.name, self.job.checkpoint, self.settings.layers)

    @cached_property
    def saes(self) -> dict[int, Source]:
        """The autoencoder of each layer that a feature is of."""
        wanted = sorted({layer for layer, _ in self.settings.features})
        if not wanted:
            return {}
        chosen_layers(self.name, self.job.checkpoint, wanted, from_end=False)
        found = find_saes(self.settings.sae, self.settings.subfolder, wanted, False, self.job.lake, self.job.checkpoint, self.job.seed)
        return {source.layer: source for source in found}

    @cached_property
    def places(self) -> list[Place]:
        """Sites and layers of the activations that are taken, in order; raises PersonascopeError for what the run does not hold."""
        if self.source is None:
            return []
        held = self.source.identity["settings"]
        sites: list[Site] = self.settings.sites or held["sites"]
        layers = held["layers"] if self.settings.layers == "all" else self.layers
        for what, wanted, known in (("site", sites, held["sites"]), ("layer", layers, held["layers"])):
            if missing := [each for each in wanted if each not in known]:
                raise PersonascopeError(
                    f"{self.name}: run {self.source.run_id} holds no activations of {what} {missing[0]}; it has {', '.join(map(str, known))}"
                )
        return [(site, layer) for site in SITES if site in sites for layer in layers]

    def spec(self) -> RunSpec:
        spec = self.base_spec({}, subject=self.job.checkpoint.name)
        asked = self.settings.model_dump(mode="json", exclude={"activations", "stratum", "sae", "subfolder", "file", "layers", "sites"})
        identity = spec.identity | {
            "settings": asked | {"make": sorted(set(self.settings.make))},
            "activations": self.source.run_id if self.source else None,
            "places": [list(place) for place in self.places],
            "saes": [[source.sae_id, source.revision] for source in self.saes.values()],
            "file": [self._file.name, file_hash(self._file), self.layers if self.settings.layers != "all" else None] if self.settings.file else None,
        }
        fields: dict[str, Any] = {"inputs": sorted({each.run_id for each in self.saes.values() if each.run_id})}
        if self.source is not None:
            read = {"dtype": self.source.dtype, "attention_implementation": self.source.attention_implementation}
            prompts = {"prompt_set": self.source.prompt_set, "prompt_set_hash": self.source.prompt_set_hash}
            fields = {"inputs": sorted({self.source.run_id, *fields["inputs"]}), **read, **prompts}
            identity |= {"dtype": self.source.dtype, "attention": self.source.attention_implementation, "stratum": self.stratum}
        return spec.model_copy(update={"identity": identity, **fields})

    @property
    def _file(self) -> Path:
        path = Path(str(self.settings.file)).expanduser()
        if not path.is_file():
            raise PersonascopeError(f"{self.name}: {path} is not there; expected a file of directions")
        return path

    def prepare(self) -> tuple[Sequence[Item[Place]], Mapping[str, Rows]]:
        self._brought = self._bring()
        self._wanted = self._wish() if self.source else []
        named = [each.id for each in self._wanted] + [each.id for each in self._all_brought()]
        for name in named:
            if named.count(name) > 1 and name in [each.id for each in self._wanted]:
                raise PersonascopeError(f"{self.name}: two directions would be called {name!r}; expected another name for one of them")
        reference = self.settings.controls_of or named[0]
        if reference not in named:
            raise PersonascopeError(f"{self.name}: no direction is called {reference!r}, which the controls are to match; {nearest(reference, named)}")
        self._reference = reference
        places = dict.fromkeys([*self.places, *self._brought])
        return [Item(f"{site}/{layer}", 1, (site, layer)) for site, layer in places], {"checkpoints": [self.job.checkpoint.row()]}

    def _all_brought(self) -> list[Brought]:
        return list({each.id: each for found in self._brought.values() for each in found}.values())

    def _bring(self) -> dict[Place, list[Brought]]:
        """Decoder columns and what the file holds, by place."""
        found: dict[Place, list[Brought]] = {}
        checkpoint = self.job.checkpoint
        for layer, source in self.saes.items():
            sae = load_sae(source.folder, layer)
            features = sorted(feature for at, feature in self.settings.features if at == layer)
            for feature in features:
                if not 0 <= feature < sae.n_features:
                    raise PersonascopeError(f"{self.name}: {source.sae_id} has no feature {feature}; expected 0 to {sae.n_features - 1}")
            rows = sae.decoder.pick(torch.tensor(features)).numpy()
            site = cast(Site, sae.site or "resid_post")
            for feature, row in zip(features, rows, strict=True):
                found.setdefault((site, layer), []).append(Brought(f"feature-{feature}", "sae", source.sae_id, row))
        if self.settings.file:
            only = None if self.settings.layers == "all" else self.layers
            for vector in read_vectors(self._file, checkpoint, only):
                place = (cast(Site, vector.site), vector.layer)
                found.setdefault(place, []).append(Brought(vector.name, "file", self._file.name, vector.vector))
        return found

    def _wish(self) -> list[Wanted]:
        """The directions to be made of activations, of the personas and conditions that the run has on this half of the questions."""
        run, half = self._source, self.settings.half
        rows = pl.DataFrame(self.job.lake.read(run.run_id, ACTIVATIONS, ["persona", "condition", "question_id"], self._where(*self.places[0])))
        rows = rows.filter([half in ("all", half_of(question)) for question in rows["question_id"]])
        if rows.is_empty():
            raise PersonascopeError(f"{self.name}: run {run.run_id} has no question of half {half} at {self.stratum}; expected more questions")
        personas, conditions = (rows[column].drop_nulls().unique().sort().to_list() for column in ("persona", "condition"))
        if self.settings.random_in_span:
            expect(run.run_id, "personas", personas, 3)
        self._personas = tuple(personas)
        return list(wishes(self.settings, run.run_id, personas, conditions))

    def _where(self, site: Site, layer: int) -> dict[str, Any]:
        return {"stratum": self.stratum, "site": site, "layer": layer}

    def process(self, items: Sequence[Item[Place]]) -> Mapping[str, Rows]:
        return {"directions": [row for item in items for row in self._rows(*item.value)]}

    def _rows(self, site: Site, layer: int) -> list[dict[str, Any]]:
        """The directions of one place and then their controls."""
        seen, unseen = self._means(site, layer) if (site, layer) in self.places else ({}, {})
        rows = [self._made_row(wanted, seen, unseen) for wanted in self._wanted if seen]
        for brought in self._brought.get((site, layer), ()):
            rows.append({"direction": brought.id, "kind": brought.kind, "made_from": brought.made_from, "vector": brought.vector})
        self._check(rows, site, layer)
        reference = next((row for row in rows if row["direction"] == self._reference), None)
        if reference is not None:
            controls = list(self._controls(reference, site, layer, seen, unseen))
            self._check(controls, site, layer)
            rows += controls
        for row in rows:
            norm = float(np.linalg.norm(row["vector"].astype(np.float64)))
            row |= {"checkpoint": self.job.checkpoint.name, "site": site, "layer": layer, "norm": norm, "vector": row["vector"].tolist()}
        return rows

    def _check(self, rows: Sequence[dict[str, Any]], site: Site, layer: int) -> None:
        """Stores every vector as float32, and refuses one that is no direction of this checkpoint."""
        for row in rows:
            row["vector"] = row["vector"].astype(np.float32)
        checkpoint = self.job.checkpoint
        if rows:
            made = [Direction(row["direction"], layer, site, row["kind"], row["vector"]) for row in rows]
            check_directions(made, checkpoint.d_model, checkpoint.n_layers, checkpoint.name)

    def _means(self, site: Site, layer: int) -> tuple[Halved, Halved]:
        """Means by persona and by condition on the questions that directions are made on, and on the other half; of half=all, on half b."""
        columns = ["persona", "condition", "question_id", "vector"]
        frame = pl.DataFrame(self.job.lake.read(self._source.run_id, ACTIVATIONS, columns, self._where(site, layer)))
        halves = np.array([half_of(question) for question in frame["question_id"]])
        vectors = np.stack(frame["vector"].to_list())
        made_on = np.ones(len(frame), dtype=bool) if self.settings.half == "all" else halves == self.settings.half
        other = halves == "b" if self.settings.half == "all" else ~made_on
        return tuple(self._grouped(frame, vectors, kept) for kept in (made_on, other))  # type: ignore[return-value]

    def _grouped(self, frame: pl.DataFrame, vectors: np.ndarray, kept: np.ndarray) -> Halved:
        """The means of these rows under every grouping that a direction takes; the personas' for controls too."""
        found = {}
        for grouping, pooled in (("persona", "condition"), ("condition", "persona")):
            wanted = kept & frame[grouping].is_not_null().to_numpy()
            if wanted.any() and (grouping == "persona" or any(each.grouping == grouping for each in self._wanted)):
                rows = frame.filter(wanted)
                found[grouping] = Means.of(rows[grouping].to_list(), list(zip(rows[pooled], rows["question_id"], strict=True)), vectors[wanted])
        return found

    def _made_row(self, wanted: Wanted, seen: Halved, unseen: Halved) -> dict[str, Any]:
        made = self._made(wanted.contrast, wanted, seen)
        row = self._describe(wanted, made, self._agreement(wanted.contrast, wanted, made, seen, unseen))
        if wanted.kind == "probe" and self.settings.half != "all" and (held := _shared(unseen, wanted)) is not None:
            row["share"] = told_apart(seen["persona"].only(wanted.groups), held, *wanted.groups)
        return row | {"direction": wanted.id, "kind": wanted.kind}

    def _made(self, contrast: Contrast, wanted: Wanted, seen: Halved) -> Made:
        try:
            means = seen[wanted.grouping].only(wanted.groups)
            made = contrast(means)
        except PersonascopeError as error:
            raise PersonascopeError(f"{self.name}: {wanted.id}: {error}") from error
        if np.linalg.norm(made.vector) <= ROUNDING * np.linalg.norm(means.at, axis=-1).mean():
            raise PersonascopeError(
                f"{self.name}: {wanted.id}: {' and '.join(wanted.groups[:2])} have the same activations at {self.stratum}, up to rounding, so there is "
                "no direction between them; expected other layers, sites or places"
            )
        return made

    def _agreement(self, contrast: Contrast, wanted: Wanted, made: Made, seen: Halved, unseen: Halved) -> float | None:
        """Cosine of the direction with the one of the other half, of half=all between its halves; None where a half has too few questions for it."""
        of_all = self.settings.half == "all"
        halves = [{name: means.of_questions("a") for name, means in seen.items()} if of_all else seen, unseen]
        one, other = (_shared(half, wanted) for half in halves)
        if one is None or other is None:
            return None
        try:
            return cosine(contrast(one).vector if of_all else made.vector, contrast(other).vector)
        except PersonascopeError:
            return None

    def _describe(self, wanted: Wanted, made: Made, agreement: float | None) -> dict[str, Any]:
        return self._origin | {
            "persona": wanted.persona,
            "other": wanted.other,
            "n": made.n,
            "n_questions": made.n_questions,
            "share": made.share,
            "other_half_cosine": agreement,
            "vector": made.vector,
        }

    @property
    def _origin(self) -> dict[str, Any]:
        return {"made_from": self._source.run_id, "stratum": self.stratum, "half": self.settings.half}

    def _controls(self, reference: Mapping[str, Any], site: Site, layer: int, seen: Halved, unseen: Halved) -> Iterator[dict[str, Any]]:
        """Controls as long as the reference; each is drawn from its number, the place and the seed alone."""
        settings, name = self.settings, reference["direction"]
        norm = float(np.linalg.norm(reference["vector"].astype(np.float64)))
        wanted = next((each for each in self._wanted if each.id == name), None)
        if settings.shuffled and wanted is None:
            raise PersonascopeError(f"{self.name}: {name} has no labels that could be shuffled; expected shuffled=0, or another controls_of")
        for kind, count in (("random", settings.random), ("random_in_span", settings.random_in_span), ("shuffled", settings.shuffled)):
            for number in range(count):
                generator = np.random.default_rng(stable_seed(kind, self.job.seed, site, layer, number))
                row: dict[str, Any]
                if kind == "random":
                    row = {"vector": generator.standard_normal(self.job.checkpoint.d_model), "made_from": "noise"}
                elif kind == "random_in_span":
                    if not seen:
                        raise PersonascopeError(f"{self.name}: no activations of {site} of layer {layer}, whose span controls would lie in; expected some")
                    row = self._origin | {"vector": in_span(seen["persona"].only(self._personas), generator)}
                else:
                    contrast = _under_shuffled_labels(cast(Wanted, wanted), generator)
                    made = self._made(contrast, cast(Wanted, wanted), seen)
                    agreement = self._agreement(contrast, cast(Wanted, wanted), made, seen, unseen)
                    row = self._describe(cast(Wanted, wanted), made, agreement) | {"share": None}
                called = f"{kind.replace('_', '-')}-{number:04d}"
                yield row | {"direction": called, "kind": kind, "control_of": name, "vector": as_long_as(row["vector"], norm)}

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        rows = pl.DataFrame(writer.read_staged("directions").select(["direction", "kind", "layer"]))
        counts = rows.unique(["direction", "kind"]).group_by("kind").len().sort("kind")
        return {
            **{f"n.{kind}": count for kind, count in counts.iter_rows()},
            "layers": sorted(rows["layer"].unique().to_list()),
            "half": self.settings.half if self.source else None,
            "d_model": self.job.checkpoint.d_model,
        }


def _under_shuffled_labels(wanted: Wanted, generator: np.random.Generator) -> Contrast:
    def shuffled(means: Means) -> Made:
        return wanted.contrast(means.shuffled(generator))

    return shuffled


def _shared(means: Halved, wanted: Wanted) -> Means | None:
    """The means of the groups at the questions that all have; None where there is none."""
    try:
        return means[wanted.grouping].only(wanted.groups) if wanted.grouping in means else None
    except NothingSharedError:
        return None
