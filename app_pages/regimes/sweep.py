"""Which sweeps a lake holds, the thresholds a reader may move, and the cells of one sweep judged by them, in SQL."""

from dataclasses import asdict, dataclass

import polars as pl
import streamlit as st

from personascope.app_pages.shared import address
from personascope.app_pages.shared.lake import Source, Value
from personascope.warehouse.asking.views import views
from personascope.warehouse.drawing import words
from personascope.warehouse.drawing.words import NOTHING_KNOWN, count_range, known, learning_rate, trainings

LETTERS, REGIMES, UNJUDGED = words.REGIME_LETTERS, words.REGIMES, words.UNJUDGED
THRESHOLDS = {
    "source_floor": ("Source: learned from", "Below this rate the source has not learned the marker: under-trained."),
    "source_threshold": ("Source: adopted above", "Up to this rate the source has adopted it in part; above it, without a leak, the cell is clean."),
    "bystander_threshold": ("Leak: above", "A larger rate under the assistant or any bystander is a collapse of some sort."),
    "audience_broad": ("Assistant: broad leakage from", "A collapse with a smaller rate under the assistant is an onset."),
    "audience_total": ("Assistant: total collapse from", "A collapse with at least this rate under the assistant is total."),
    "arc_floor": ("ARC-Challenge: success above", "Success asks for a larger accuracy; the regime does not."),
}
STEP = 0.005
NAMES = {"origin": "Origin", "source": "Source persona", "parent": "Trained from", "marker": "Marker", "recipe": "Recipe", "seed": "Training seed"}
ALWAYS = ("origin", "source", "seed")
# The view once more, under the thresholds of the reader; `main` names the view itself where a query calls its own answer `regimes`.
JUDGED = f"""select r.* replace (
    regime_of(r.source_rate, r.max_other_rate, r.audience_rate, l) as regime,
    regimes_allowed(r.source_low, r.source_high, r.max_other_lower, r.max_other_upper, r.audience_low, r.audience_high, l) as regime_supported,
    degeneration_of(r.max_bystander_rate, l) as degeneration,
    success_of(r.source_rate, r.arc_c, r.max_bystander_rate, l) as success
  )
  from main.regimes as r
  cross join (select * replace ({", ".join(f"${name}::double as {name}" for name in THRESHOLDS)}) from regime_thresholds) as l"""
OF_SWEEP = """origin = $origin and source is not distinct from $source and parent is not distinct from $parent and marker is not distinct from $marker
  and recipe is not distinct from $recipe"""
# `cells`: the newest record of each cell under one seed; `failures`: cells under that seed whose training gave no rates; `grid`: every learning rate with
# every number of epochs that was tried, trained or not; `rates`: the marker rate of every persona in every cell.
CELLS = f"""judged as ({JUDGED}),
  swept as (select * from judged where {OF_SWEEP}),
  cells as (
    select s.* from swept as s join runs as r using (run_id)
    where s.seed is not distinct from $seed
    qualify row_number() over (partition by s.lr, s.epochs order by r.finished desc, s.run_id) = 1
  ),
  lost as (
    select lr, epochs, seed, checkpoint, kind, step, reason
    from training_failures left join (select distinct run_id, recipe from recipe_settings) using (run_id)
    where $origin <> 'published' and source_persona is not distinct from $source and parent is not distinct from $parent
      and coalesce(recipe = $recipe, true)
  ),
  failures as (
    select f.* exclude (seed) from lost as f anti join cells using (lr, epochs)
    where f.seed is not distinct from $seed
    qualify row_number() over (partition by f.lr, f.epochs order by f.checkpoint) = 1
  ),
  tried as (select lr, epochs from swept union select lr, epochs from lost),
  grid as (select a.lr, b.epochs from (select distinct lr from tried) as a cross join (select distinct epochs from tried) as b),
  rates as (
    select c.lr, c.epochs, m.* from cells as c join marker_rates as m on m.run_id = c.run_id and m.marker is not distinct from c.marker
  )"""

# Published pairs stand in files of their own, which name no run of the rates.
PAIRS = """leakage_cosine_pairs as (
    from main.leakage_cosine_pairs where source = $source and origin = $origin and (rates_run is null or rates_run in (select run_id from cells))
  ),
  pairs as (from leakage_cosine_pairs)"""


@dataclass(frozen=True)
class Sweep:
    """The cells of one source persona, from one checkpoint, under one seed; None where the lake does not say."""

    origin: str
    source: str | None
    parent: str | None
    marker: str | None
    recipe: str | None
    seed: int | None

    @property
    def values(self) -> dict[str, Value]:
        """Parameters of `OF_SWEEP` and `CELLS`."""
        return asdict(self)

    @property
    def words(self) -> str:
        """Which trainings they are, under a title: source, seed and recipe."""
        return f"source {known(self.source)}, {trainings(self.origin, self.seed, self.recipe)}"


@dataclass(frozen=True)
class Judged:
    """A sweep under thresholds, and a way to ask for it."""

    lake: Source
    sweep: Sweep
    limits: dict[str, float]

    def select(self, query: str, **parameters: Value) -> pl.DataFrame:
        """Rows of a SELECT over `cells`, `failures`, `grid` and `rates`."""
        return self.lake.select(f"with {CELLS}\n{query}", **self.sweep.values, **self.limits, **parameters)

    @property
    def runs(self) -> set[str]:
        """The runs that the rates of the cells come from."""
        return set(self.select("select run_id from cells")["run_id"])

    def view(self, name: str, columns: str, order: str) -> pl.DataFrame:
        """Rows of a view over `regimes`, as it is under these thresholds, over every seed of the sweep."""
        query = f"with regimes as ({JUDGED})\nselect {columns} from ({views()[name].sql}) where {OF_SWEEP} order by {order}"
        return self.lake.select(query, **{key: value for key, value in self.sweep.values.items() if key != "seed"}, **self.limits)

    def leakage(self, query: str, **parameters: Value) -> pl.DataFrame:
        """Rows of a SELECT over `pairs` and `correlations`: `leakage_cosine_pairs` of the cells of this sweep and no others, and `leakage_cosine` of these."""
        bound = f"with {CELLS}, {PAIRS}, correlations as ({views()['leakage_cosine'].sql})\n{query}"
        return self.lake.select(bound, **self.sweep.values, **self.limits, **parameters)

    def moved_limits(self) -> dict[str, tuple[float, float]]:
        """The thresholds that are not at the place of the view's: where they are, and where they were."""
        defaults = default_limits(self.lake)
        return {name: (limit, defaults[name]) for name, limit in self.limits.items() if limit != defaults[name]}

    def side_by_side(self) -> pl.DataFrame:
        """Every cell with its regime at the thresholds of the view and at these, and the rates with the intervals that both judge."""
        return self.select(
            """select c.lr, c.epochs, r.regime as default_regime, c.regime as moved_regime, c.source_rate, c.source_low, c.source_high,
              c.max_other_rate, c.max_other_lower, c.max_other_upper
            from cells as c join main.regimes as r using (run_id)
            where r.marker is not distinct from c.marker order by c.lr, c.epochs"""
        )

    def changed(self) -> pl.DataFrame:
        """The cells with another regime than under the thresholds of the view: learning rate, epochs, regime there and here."""
        rows = self.side_by_side().select("lr", "epochs", "default_regime", "moved_regime")
        return rows.filter(pl.col("default_regime").ne_missing(pl.col("moved_regime")))


def default_limits(lake: Source) -> dict[str, float]:
    """The thresholds of the view."""
    return lake.select(f"select {', '.join(THRESHOLDS)} from regime_thresholds").row(0, named=True)


def sweeps(lake: Source) -> pl.DataFrame:
    """Every sweep in the lake, the one with the most cells first."""
    return lake.select(
        """with counted as (
          select origin, source, parent, marker, recipe, seed, count(distinct (lr, epochs)) as n_cells from regimes group by all
        )
        select origin, source, parent, marker, recipe, seed
        from counted
        order by max(n_cells) over (partition by origin) desc, origin, max(n_cells) over (partition by origin, source) desc, source, n_cells desc, parent,
          marker, recipe, seed"""
    )


def choose_sweep(found: pl.DataFrame) -> Sweep:
    """One of the sweeps, by origin, source persona and seed, and by what else tells them apart."""
    row = st.container(horizontal=True)
    for name, label in NAMES.items():
        words = found[name].cast(pl.String).fill_null(NOTHING_KNOWN)
        options = words.unique(maintain_order=True).to_list()
        if name in ALWAYS or len(options) > 1:
            found = found.filter(words == address.select(label, options, f"sweep_{name}", where=row))
    return Sweep(**found.row(0, named=True))


def recipe_words(lake: Source, recipe: str | None) -> str | None:
    """What a recipe was given that others of this lake were not, a setting with its value each; None where there is one recipe."""
    rows = lake.select(
        """with given as (select distinct r.recipe, name, value from recipes as r join recipe_settings using (checkpoint) where r.recipe is not null)
        select string_agg(name || ' ' || value, ', ' order by name) as words from given
        where recipe = $recipe and name in (select name from given group by name having count(distinct value) > 1)""",
        recipe=recipe,
    )
    return rows["words"].item()


def choose_limits(lake: Source) -> dict[str, float]:
    """The thresholds, at the place of the view's unless moved."""
    defaults = default_limits(lake)
    with st.expander("Thresholds", icon=":material/tune:"):
        places = [*st.columns(3), *st.columns(3)]
        limits = {
            name: place.slider(label, 0.0, 1.0, defaults[name], STEP, key=name, help=meaning, bind="query-params")
            for place, (name, (label, meaning)) in zip(places, THRESHOLDS.items(), strict=True)
        }
        st.button("Back to the defaults", on_click=_reset, args=(defaults,), disabled=limits == defaults, icon=":material/restart_alt:", type="tertiary")
    for low, high in (("source_floor", "source_threshold"), ("audience_broad", "audience_total")):
        if limits[low] > limits[high]:
            names = f"“{THRESHOLDS[low][0]}” ({limits[low]:g}) lies above “{THRESHOLDS[high][0]}” ({limits[high]:g})"
            st.warning(f"{names}: one regime between them cannot occur.", icon=":material/warning:")
    return limits


def _reset(defaults: dict[str, float]) -> None:
    st.session_state.update(defaults)


def rule(limits: dict[str, float]) -> str:
    """The regime rule in words, under these thresholds."""
    floor, adopted, leak, broad, total = (f"{100 * limits[name]:g}%" for name in list(THRESHOLDS)[:5])
    return (
        f"No leak (assistant and every bystander at most {leak}): **U** under-trained, source below {floor} · **P** partial, up to {adopted} · "
        f"**C** clean, above it (framed). Leak: **O** collapse onset · **B** broad leakage, assistant from {broad} · **T** total collapse, from {total}. "
        "Grey: not in this lake."
    )


def cell_name(lr: float, epochs: float) -> str:
    """A cell as an address may name it: `5e-6/10`."""
    return f"{learning_rate(lr)}/{epochs:g}"


def cell_words(lr: float, epochs: float) -> str:
    """A cell in words: `lr 5e-6, 10 epochs`."""
    return f"lr {learning_rate(lr)}, {epochs:g} {'epoch' if epochs == 1 else 'epochs'}"


def sample(sweep: Sweep, rates: pl.DataFrame) -> list[str]:
    """What stands behind marker rates with columns n, n_questions and n_from, in short lines."""
    design = ", by the study's design" if "design" in set(rates["n_from"]) else ""
    return [f"a persona: {count_range(rates['n'], 'completion')} of {count_range(rates['n_questions'], 'question')}", f"{sweep.words}{design}"]
