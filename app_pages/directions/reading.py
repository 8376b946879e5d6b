"""What is read on the page Directions: one run of directions, a direction of it, and a layer and site."""

from dataclasses import dataclass

import polars as pl

from personascope.app_pages.shared import address
from personascope.app_pages.shared.bar import asked, bar
from personascope.app_pages.shared.lake import Source, Value
from personascope.warehouse.drawing.places import place_words


@dataclass(frozen=True)
class Reading:
    """A direction of one run, at one site, and the layer and persona that are looked at (persona None: all)."""

    run_id: str
    checkpoint: str
    direction: str
    site: str
    layer: int
    persona: str | None
    half: str | None

    @property
    def values(self) -> dict[str, Value]:
        """Parameters of a query about the direction at its layer: run, direction, site, layer."""
        return {"run": self.run_id, "direction": self.direction, "site": self.site, "layer": self.layer}

    @property
    def words(self) -> str:
        """Which direction this is and on which questions it was made, as a fact under a title."""
        made = {"all": "made on all questions", None: "made on no questions of this lake"}.get(self.half, f"made on half {self.half} of the questions")
        return f"{self.direction} of {self.checkpoint}, {place_words(self.site)}; {made}"


def known(lake: Source) -> pl.DataFrame:
    """Every direction that is no control, with its layers; runs along which something was read or steered first, of those the ones of trained checkpoints, then
    the newest, and of one run what points to the persona that a checkpoint was trained on before other names."""
    return lake.select(
        """select d.run_id, d.checkpoint, d.direction, d.kind, d.site, any_value(d.half) as half, list(distinct d.layer order by d.layer) as layers
        from directions as d join runs as r using (run_id) left join checkpoints as c on c.run_id = d.run_id and c.checkpoint = d.checkpoint
        where d.control_of is null
        group by d.run_id, d.checkpoint, d.direction, d.kind, d.site, r.finished
        order by d.run_id in (select directions_run from projections union select directions_run from steering) desc,
          bool_or(c.source_persona is not null and c.step is null) desc, r.finished desc,
          bool_or(coalesce(d.persona = c.source_persona, false)) desc, d.direction, d.site desc"""
    )


def choose(lake: Source, there: pl.DataFrame) -> Reading:
    """The reading: checkpoint, persona and layer from the bar, the direction beside them."""
    checkpoints = there["checkpoint"].unique(maintain_order=True).to_list()
    wanted = asked("checkpoint")
    own = there.filter(checkpoint=wanted if wanted in checkpoints else checkpoints[0])
    personas = lake.select("select distinct persona from projections where persona is not null order by persona")["persona"].to_list()
    layers = sorted({layer for each in own["layers"] for layer in each})
    chosen = bar(checkpoints=checkpoints, personas=personas, layers=layers)
    options = [str(number) for number in range(own.height)]
    labels = [" · ".join([row["direction"], place_words(row["site"]) or "", row["run_id"]]) for row in own.iter_rows(named=True)]
    picked = own.row(int(address.select("Direction", options, "direction", labels=dict(zip(options, labels, strict=True)))), named=True)
    layers = picked["layers"]
    layer = chosen.layer if chosen.layer is not None and chosen.layer in layers else layers[len(layers) // 2]
    return Reading(picked["run_id"], picked["checkpoint"], picked["direction"], picked["site"], layer, chosen.persona, picked["half"])
