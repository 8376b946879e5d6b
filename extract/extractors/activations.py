"""Reads activations at chosen places of prompts and answers: the residual stream and what each layer adds to it, one vector a row."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from personascope.extract.extractors.places import PlaceSettings, PlacesExtractor, Text, items_of
from personascope.extract.instruments.residual import SITES, ResidualStream, Site, residual_stream
from personascope.extract.job import Item
from personascope.extract.workload import Shape, Texts, Workload
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter


class ActivationSettings(PlaceSettings):
    """Which vectors are read, and how they are stored."""

    sites: list[Site] = Field(default=["resid_post"], min_length=1, description=f"some of {', '.join(SITES)}")
    store: Literal["float32", "float16"] = Field(default="float32", description="float16 rounds every number to half precision: half the disk")


class Activations(PlacesExtractor):
    """`activations`: vectors of the residual stream at chosen layers, sites and places, from prompts or from a completions run (force-feeding)."""

    name = "activations"
    version = 1
    settings_type = ActivationSettings
    settings: ActivationSettings

    @classmethod
    def workload(cls, settings: ActivationSettings, texts: Texts, shape: Shape) -> Workload:
        rows = texts.n * len(settings.strata) * shape.layers(settings.layers) * len(settings.sites)
        width = 4.0 if settings.store == "float32" else 2.0
        return Workload(texts.tokens, {"examples": texts.n, "activations": rows}, {"activations": width * shape.d_model})

    @cached_property
    def sites(self) -> list[Site]:
        return [site for site in SITES if site in self.settings.sites]

    def spec(self) -> RunSpec:
        return self.place_spec(self.settings.model_dump(mode="json") | {"layers": self.layers, "sites": self.sites})

    def prepare(self) -> tuple[Sequence[Item[Text]], Mapping[str, Rows]]:
        texts, known = self.texts()
        return items_of(texts), known

    def check(self) -> Mapping[str, float]:
        self._stream: ResidualStream = residual_stream(self.loaded.model, self.sites)
        return self._stream.errors

    def process(self, items: Sequence[Item[Text]]) -> Mapping[str, Rows]:
        columns, vectors = self.read(items, self._stream, self.layers, self.sites)
        del columns["category"]
        tables = [self._table(columns, layer, site, vectors[layer, site].cpu().numpy()) for layer in self.layers for site in self.sites]
        return {"activations": pa.concat_tables(tables)}

    def _table(self, columns: Mapping[str, list[Any]], layer: int, site: Site, vectors: np.ndarray) -> pa.Table:
        """Rows of one layer and site; vectors [n, d] float32."""
        if self.settings.store == "float16":
            with np.errstate(over="ignore"):  # too large a number becomes infinite, and is refused below
                vectors = vectors.astype(np.float16).astype(np.float32)
        finite = np.isfinite(vectors).all(axis=1)
        if not finite.all():
            row = int(np.flatnonzero(~finite)[0])
            remedy = "store=float32" if self.settings.store == "float16" else "weights and a dtype that give finite numbers (--dtype)"
            raise PersonascopeError(
                f"activations: {site} of layer {layer} at stratum {columns['stratum'][row]!r} of example {columns['example_id'][row]} "
                f"does not fit {self.settings.store}; expected {remedy}"
            )
        n, d = vectors.shape
        integers = {"sample_ix", "position", "n_positions"}
        fixed = {name: pa.array(values, pa.int32() if name in integers else pa.string()) for name, values in columns.items()}
        offsets = pa.array(np.arange(0, n * d + 1, d, dtype=np.int32))
        where = {"layer": pa.repeat(pa.scalar(layer, pa.int32()), n), "site": pa.repeat(site, n)}
        return pa.table(fixed | where | {"vector": pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(vectors).ravel()))})

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        return {**self.counts, "layers": self.layers, "sites": self.sites, "d_model": self.job.checkpoint.d_model, **self.self_checks}
