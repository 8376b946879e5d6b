"""What is read on the personas page: one run's mean activations at one place, of personas or of conditions of the system prompt, and their cosines."""

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
SUFFIX = {CENTERED: "_centered", RAW: ""}


@dataclass(frozen=True)
class Reading:
    """Mean activations of several personas, or conditions, in one checkpoint at one place, and the one of them and the layer that are looked at."""

    run_id: str
    checkpoint: str
    subject: str
    stratum: str
    site: str
    condition: str | None
    persona: str
    layer: int
    kind: str
    of_conditions: bool

    @property
    def whose(self) -> str:
        """What is compared, in the singular."""
        return "condition" if self.of_conditions else "persona"

    @property
    def where(self) -> str:
        """SQL condition on a view by run_id, stratum, site and condition."""
        return "run_id = $run and stratum = $stratum and site = $site and condition is not distinct from $condition"

    @property
    def values(self) -> dict[str, Value]:
        """Parameters of `where`."""
        return {"run": self.run_id, "stratum": self.stratum, "site": self.site, "condition": self.condition}

    @property
    def words(self) -> str:
        """Where it was read and how, as a fact under a title."""
        return f"{self.place}; {f'mean over {self.whose}s subtracted first' if self.kind == CENTERED else 'raw means'}"

    @property
    def place(self) -> str:
        """Where it was read, and over whose tokens where these are another checkpoint's."""
        return " · ".join([place_words(f"{self.stratum} · {self.site}") or "", *([self.subject] if self.subject != self.checkpoint else [])])


def known(lake: Source) -> pl.DataFrame:
    """Every place at which several personas were read, the one with the most of them first, then those of several conditions of the system prompt."""
    return lake.select(
        """select run_id, checkpoint, subject, stratum, site, condition, false as of_conditions, list(distinct persona order by persona) as names,
          list(distinct layer order by layer) as layers
        from persona_vectors group by run_id, checkpoint, subject, stratum, site, condition having count(distinct persona) > 1
        union all
        select run_id, checkpoint, subject, stratum, site, null, true, list(distinct condition order by condition), list(distinct layer order by layer)
        from persona_vectors where condition is not null
        group by run_id, checkpoint, subject, stratum, site having count(distinct condition) > 1 and count(distinct coalesce(persona, '')) = 1
        order by of_conditions, len(names) desc, checkpoint, stratum, site desc, condition nulls first, run_id"""
    )


OF_PERSONAS = """with cosines as (
    select persona as name, other_persona as other, layer, cosine{suffix} as plain, n, n_other, n_distinct, n_personas as n_names
    from persona_cosines where {where}
  ),
  sure as (
    select persona as name, other_persona as other, layer, corrected{suffix} as corrected, low{suffix} as low, high{suffix} as high, n_questions
    from persona_cosine_intervals where {where}
  )
  select c.*, case when c.name = c.other then null when s.name is null then c.plain else s.corrected end as cosine, s.low, s.high, s.n_questions
  from cosines as c left join sure as s using (name, other, layer)
  order by layer, name, other"""
OF_CONDITIONS = """select condition_a as name, condition_b as other, layer, cosine as plain, n_a as n, n_b as n_other,
    null::bigint as n_distinct,
    count(distinct condition_a) over (partition by layer) as n_names, case when condition_a <> condition_b then coalesce(corrected, cosine) end as cosine,
    low, high, n_clusters as n_questions
  from condition_similarity
  where run_id = $run and stratum = $stratum and site = $site and basis = 'activations' and sae_id is null
  order by layer, name, other"""


def cosines(lake: Source, reading: Reading) -> pl.DataFrame:
    """Every two personas, or conditions, at every layer: `cosine` with its interval, and `plain`, that of the two means as they are.

    Where it is known, `cosine` is without what questions add to the length of a mean; else it is the plain one; NULL with itself.
    """
    if reading.of_conditions:
        return lake.select(OF_CONDITIONS, **{name: value for name, value in reading.values.items() if name != "condition"})
    return lake.select(OF_PERSONAS.format(suffix=SUFFIX[reading.kind], where=reading.where), **reading.values)


def choose(there: pl.DataFrame) -> Reading:
    """The reading: checkpoint, persona and layer from the bar, place and kind of cosine beside it."""
    checkpoints = there["checkpoint"].unique(maintain_order=True).to_list()
    wanted = asked("checkpoint")
    places = there.filter(checkpoint=wanted if wanted in checkpoints else checkpoints[0])
    personas, layers = (sorted({each for of_place in places[name] for each in of_place}) for name in ("names", "layers"))
    chosen = bar(checkpoints=checkpoints, personas=personas, layers=layers)
    labels = _labels(places)
    row, side = st.columns(2)
    runs = [str(each) for each in range(places.height)]
    picked = address.select("Read at", runs, "read_at", labels=dict(zip(runs, labels, strict=True)), where=row)
    place = places.row(int(picked), named=True)
    kind = RAW if place["of_conditions"] else address.segments("Cosines", list(KINDS), "centred", labels=KINDS, where=side)
    persona = chosen.persona if chosen.persona is not None and chosen.persona in place["names"] else place["names"][0]
    layer = chosen.layer if chosen.layer is not None and chosen.layer in place["layers"] else place["layers"][len(place["layers"]) // 2]
    if (persona, layer) != (chosen.persona, chosen.layer):
        whose = "condition" if place["of_conditions"] else "persona"
        st.caption(f"Looked at: {whose} {plain(persona)}, layer {layer}; the bar chooses others of those that were read here.")
    of_place = {name: place[name] for name in ("run_id", "checkpoint", "subject", "stratum", "site", "condition", "of_conditions")}
    return Reading(**of_place, persona=persona, layer=layer, kind=kind)


def _labels(places: pl.DataFrame) -> list[str]:
    """What each place is called, with the run beside those that are called alike."""
    names = []
    for row in places.iter_rows(named=True):
        others = [
            "conditions of the system prompt" if row["of_conditions"] else row["condition"],
            row["subject"] if row["subject"] != row["checkpoint"] else None,
        ]
        names.append(" · ".join(filter(None, [place_words(f"{row['stratum']} · {row['site']}"), *others])))
    return [name if names.count(name) == 1 else f"{name} · {run}" for name, run in zip(names, places["run_id"], strict=True)]
