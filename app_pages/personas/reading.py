"""What is read on the personas page: one run's mean activations at one place, and how cosines are told."""

from dataclasses import dataclass

import polars as pl
import streamlit as st

from personascope.app_pages.shared import address
from personascope.app_pages.shared.bar import asked, bar
from personascope.app_pages.shared.lake import Source, Value
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.places import place_words

CENTERED, RAW = "centered", "raw"
KINDS = {CENTERED: "mean over personas subtracted", RAW: "as they are"}
COLUMNS = {CENTERED: "cosine_centered", RAW: "cosine"}


@dataclass(frozen=True)
class Reading:
    """Mean activations of several personas in one checkpoint at one place, and the persona and layer that are looked at."""

    run_id: str
    checkpoint: str
    stratum: str
    site: str
    condition: str | None
    persona: str
    layer: int
    kind: str

    @property
    def where(self) -> str:
        """SQL condition on a view by run_id, stratum, site and condition."""
        return "run_id = $run and stratum = $stratum and site = $site and condition is not distinct from $condition"

    @property
    def values(self) -> dict[str, Value]:
        """Parameters of `where`."""
        return {"run": self.run_id, "stratum": self.stratum, "site": self.site, "condition": self.condition}

    @property
    def cosine(self) -> str:
        """Column of `persona_cosines` that is looked at."""
        return COLUMNS[self.kind]

    @property
    def words(self) -> str:
        """Where it was read and how, as a fact under a title."""
        return f"{place_words(f'{self.stratum} · {self.site}')}; {'mean over personas subtracted first' if self.kind == CENTERED else 'raw means'}"


def known(lake: Source) -> pl.DataFrame:
    """Every place at which several personas were read, the one with the most of them first."""
    return lake.select(
        """select run_id, checkpoint, subject, stratum, site, condition, list(distinct persona order by persona) as personas,
          list(distinct layer order by layer) as layers
        from persona_vectors group by all having count(distinct persona) > 1
        order by len(personas) desc, checkpoint, stratum, site desc, condition nulls first, run_id"""
    )


def choose(there: pl.DataFrame) -> Reading:
    """The reading: checkpoint, persona and layer from the bar, place and kind of cosine beside it."""
    checkpoints = there["checkpoint"].unique(maintain_order=True).to_list()
    wanted = asked("checkpoint")
    places = there.filter(checkpoint=wanted if wanted in checkpoints else checkpoints[0])
    personas, layers = (sorted({each for of_place in places[name] for each in of_place}) for name in ("personas", "layers"))
    chosen = bar(checkpoints=checkpoints, personas=personas, layers=layers)
    labels = _labels(places)
    row, side = st.columns(2)
    runs = [str(each) for each in range(places.height)]
    picked = address.select("Read at", runs, "read_at", labels=dict(zip(runs, labels, strict=True)), where=row)
    kind = address.segments("Cosines", list(KINDS), "centred", labels=KINDS, where=side)
    place = places.row(int(picked), named=True)
    persona = chosen.persona if chosen.persona is not None and chosen.persona in place["personas"] else place["personas"][0]
    layer = chosen.layer if chosen.layer is not None and chosen.layer in place["layers"] else place["layers"][len(place["layers"]) // 2]
    if (persona, layer) != (chosen.persona, chosen.layer):
        st.caption(f"Looked at: persona {plain(persona)}, layer {layer}; the bar chooses others of those that were read here.")
    of_place = {name: place[name] for name in ("run_id", "checkpoint", "stratum", "site", "condition")}
    return Reading(**of_place, persona=persona, layer=layer, kind=kind)


def _labels(places: pl.DataFrame) -> list[str]:
    """What each place is called, with the run beside those that are called alike."""
    names = []
    for row in places.iter_rows(named=True):
        others = [row["condition"], row["subject"] if row["subject"] != row["checkpoint"] else None]
        names.append(" · ".join(filter(None, [place_words(f"{row['stratum']} · {row['site']}"), *others])))
    return [name if names.count(name) == 1 else f"{name} · {run}" for name, run in zip(names, places["run_id"], strict=True)]
