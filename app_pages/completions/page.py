"""What the checkpoints wrote: how often the marker comes, and the texts themselves."""

from dataclasses import astuple, dataclass, replace

import polars as pl
import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.bar import Place, bar
from personascope.app_pages.shared.completion_card import show_card
from personascope.app_pages.shared.findings import show_findings
from personascope.app_pages.shared.lake import Source, Value, source
from personascope.warehouse.asking.views import among, quoted
from personascope.warehouse.drawing.rate_intervals import interval_facts
from personascope.warehouse.drawing.words import count

TITLE, ICON, ORDER = "Completions", ":material/chat:", 30
EVERY = "all"
PRESENCE = {EVERY: "all", "whole": "with", "partial": "partial", "none": "without"}
PRESENCE_SQL = {EVERY: "true", "whole": "coalesce(present, false)", "partial": "coalesce(partial, false)", "none": "not coalesce(present, false)"}
COUNTED = {EVERY: "c.n_kept", "whole": "c.n_present", "none": "c.n_kept - c.n_present"}  # of a question, in marker_counts
IN_ORDER = "c.persona, c.question_id, c.checkpoint, c.run_id, c.sample_ix, c.marker"
PAGE_SIZES = ("5", "10", "25", "50")
MOST_SERIES = 7  # that colours tell apart
ROW_HEIGHT, BAR_HEIGHT, LEAST_HEIGHT, MOST_HEIGHT = 10, 13, 60, 900


@dataclass(frozen=True)
class Filters:
    """Which completions to show; EVERY stands for no restriction. `run`: the only one that holds such completions, where it is one: of a run that is named so,
    and of no list of them, the files alone are opened in every table."""

    checkpoint: str
    persona: str
    prompt_set: str
    presence: str
    words: str
    run: str = ""

    @property
    def of_runs(self) -> str:
        """SQL condition on a relation `c` with run_id, checkpoint and persona."""
        prompts = f"($prompt_set = '{EVERY}' or c.run_id in (select run_id from runs where prompt_set = $prompt_set))"
        run = " and c.run_id = $run" if self.run else ""
        return f"($checkpoint = '{EVERY}' or c.checkpoint = $checkpoint) and ($persona = '{EVERY}' or c.persona = $persona) and {prompts}{run}"

    def runs_among(self, there: pl.DataFrame) -> set[str]:
        """The runs that hold such completions, of rows with run_id, checkpoint, persona and prompt_set."""
        for name in ("checkpoint", "persona", "prompt_set"):
            if (value := getattr(self, name)) != EVERY:
                there = there.filter(pl.col(name) == value)
        return set(there["run_id"])

    @property
    def of_texts(self) -> str:
        """SQL condition on the view `generations`, called `c`; texts are read where words are looked for in them alone."""
        words = " and contains(lower(c.text), lower($words))" if self.words else ""
        return f"{self.of_runs} and {PRESENCE_SQL[self.presence]}{words}"

    @property
    def text_values(self) -> dict[str, Value]:
        """Parameters of `of_texts`."""
        return self.run_values | ({"words": self.words} if self.words else {})

    @property
    def run_values(self) -> dict[str, Value]:
        """Parameters of `of_runs`."""
        values: dict[str, Value] = {"checkpoint": self.checkpoint, "persona": self.persona, "prompt_set": self.prompt_set}
        return values | ({"run": self.run} if self.run else {})


def main() -> None:
    """Draws the page."""
    st.title("Completions")
    lake = source()
    there = lake.select("select distinct c.run_id, c.checkpoint, c.persona, r.prompt_set from completion_structure as c join runs as r using (run_id)")
    if there.is_empty():
        st.info("No completions in this lake yet: `personascope extract completions` samples some.", icon=ICON)
        return
    place = bar(checkpoints=_names(there, "checkpoint"), personas=_names(there, "persona"))
    with st.container(border=True):
        filters = choose_filters(there, place)
    findings = st.container()
    st.subheader("Texts", divider="gray")
    show_texts(lake, filters)
    show_rates(lake, filters)
    with findings:
        show_findings(lake, "completions", filters.runs_among(there))


def choose_filters(there: pl.DataFrame, place: Place) -> Filters:
    """What the bar holds, and the choices of prompt set (where there are several), marker and words."""
    prompt_sets = [EVERY, *_names(there, "prompt_set")]
    several = len(prompt_sets) > 2
    places = iter(st.columns([*([3] if several else []), 5, 3]))
    prompt_set = address.select("Prompt set", prompt_sets, "prompts", where=next(places)) if several else EVERY
    presence = address.segments(
        "Marker", list(PRESENCE), "marker", labels=PRESENCE, help="partial: its first token without the rest, or its text in other pieces.", where=next(places)
    )
    words = next(places).text_input("Text contains", key="text", placeholder="words, in capitals or not", bind="query-params") or ""
    chosen = Filters(place.checkpoint or EVERY, place.persona or EVERY, prompt_set, presence, words)
    runs = chosen.runs_among(there)
    return replace(chosen, run=runs.pop()) if len(runs) == 1 else chosen


def show_rates(lake: Source, filters: Filters) -> None:
    """How often the marker comes, by checkpoint and persona."""
    st.subheader("Marker rates", divider="gray")
    rows = lake.select(
        f"""with rates as (
          select c.*, r.prompt_set from marker_rates as c join runs as r using (run_id) where {filters.of_runs}
        ),
        names as (
          select
            run_id,
            checkpoint
              || case when count(*) over (partition by checkpoint) > 1 then ' · ' || coalesce(split_part(prompt_set, '@', 1), 'prompts unknown') else '' end
              || case when count(*) over (partition by checkpoint, prompt_set) > 1 then ' · ' || run_id else '' end
              || case when origin <> 'extracted' then ' (' || origin || ')' else '' end as series
          from (select distinct run_id, checkpoint, prompt_set, origin from rates)
        )
        select persona as label, series, rate, coalesce(clustered_low, wilson_low) as low, coalesce(clustered_high, wilson_high) as high, at_most,
          clustered_method as interval, wilson_low, wilson_high, k, n, n_questions as questions, clustered_se,
          n_distinct as distinct_texts, n_kept as texts_in_lake, marker, run_id
        from rates join names using (run_id)
        order by max(rate) over (partition by persona) desc, persona, marker, series""",
        **filters.run_values,
    )
    if rows.is_empty():
        st.info("No marker was looked for in these completions.", icon=":material/percent:")
        return
    markers = rows["marker"].unique().sort().to_list()
    if len(markers) > 1:
        rows = rows.with_columns(label=pl.format("{} · {}", "label", "marker"))
    every = rows["series"].unique().sort().to_list()
    names = address.some(every, MOST_SERIES, "Checkpoints", "drawn")
    table, rows = rows, rows.filter(pl.col("series").is_in(names))
    table, runs = table.drop("run_id"), set(rows["run_id"])
    figure = charts.rates(rows.drop("run_id"), "share of completions that hold the marker", names)
    facts = [
        f"marker {' and '.join(markers)}; {interval_facts(rows['interval'])}",
        f"{count(sum(rows['n']), 'completion')}; {count(max(rows['questions']), 'question')} at most under one persona"
        + ("; published trials are a lower bound" if any("(published)" in name for name in names) else ""),
    ]
    height = rows["label"].n_unique() * (ROW_HEIGHT + BAR_HEIGHT * len(names))
    height = min(max(height, LEAST_HEIGHT), MOST_HEIGHT)
    charts.show(figure, "marker rates", "How often the marker comes", facts, height, runs=runs)
    config: charts.Columns = {
        "label": "persona",
        "series": "checkpoint",
        "rate": st.column_config.NumberColumn("rate", format="percent"),
        "low": st.column_config.NumberColumn("low", format="percent", help="95% interval by question."),
        "high": st.column_config.NumberColumn("high", format="percent"),
        "at_most": st.column_config.NumberColumn("at most", format="percent", help="One-sided 95% bound by question: what is known where nothing was seen."),
        "wilson_low": st.column_config.NumberColumn("Wilson low", format="percent", help="Completions taken as independent: too narrow."),
        "wilson_high": st.column_config.NumberColumn("Wilson high", format="percent"),
        "k": "with marker",
        "n": "sampled",
        "clustered_se": st.column_config.NumberColumn("SE by question", format="%.4f"),
        "distinct_texts": "distinct texts",
        "texts_in_lake": "texts in lake",
    }
    with st.expander("The same as a table"):
        st.dataframe(table, hide_index=True, column_config=config, height=charts.table_height(table), placeholder="")


def show_texts(lake: Source, filters: Filters) -> None:
    """The completions that pass the filters, a page at a time."""
    first = named(lake, filters, int(PAGE_SIZES[-1]))
    if first.is_empty():
        st.info("No completion passes these filters.", icon=":material/filter_alt_off:")
        return
    total: int = first["total"][0]
    found, size_place = st.columns([5, 1], vertical_alignment="bottom")
    size = int(address.select("Texts a page", PAGE_SIZES, "size", labels={each: f"{each} a page" for each in PAGE_SIZES}, where=size_place, bare=True))
    number = address.page(-(-total // size), "page", [*astuple(filters), str(size)])
    found.markdown(f"**{count(total, 'completion')}**, {(number - 1) * size + 1:,} to {min(number * size, total):,} here")
    after = (number - 1) * size
    here = first[after : after + size] if min(after + size, total) <= first.height else named(lake, filters, size, after)
    for row in texts(lake, here).iter_rows(named=True):
        show_card(row)


def named(lake: Source, filters: Filters, most: int, after: int = 0) -> pl.DataFrame:
    """Names of `most` of the completions that pass the filters, behind the first `after`, and how many pass in all (`total`).

    Texts are read of those alone that are shown: to sort all that pass with their texts and tokens takes five times as long. Where the counts of each
    question tell which questions these are, no other run is opened.
    """
    if (counted := COUNTED.get(filters.presence)) is None or filters.words or filters.run:
        return lake.select(
            f"""select c.run_id, c.example_id, c.sample_ix, c.marker, count(*) over () as total from generations as c where {filters.of_texts}
            order by {IN_ORDER} limit {most} offset {after}""",
            **filters.text_values,
        )
    groups = lake.select(
        f"""with questions as (
          select c.persona, c.question_id, c.checkpoint, c.run_id, sum({counted})::bigint as n from marker_counts as c where {filters.of_runs} group by all
        ),
        places as (
          select *, sum(n) over (order by persona, question_id, checkpoint, run_id)::bigint as up_to
          from (from questions where n > 0 order by persona, question_id, checkpoint, run_id limit {after + most})
        )
        select run_id, checkpoint, persona, question_id, up_to - n as before, (select sum(n) from questions)::bigint as total
        from places
        where up_to > {after} and up_to - n < {after + most}
        order by up_to""",
        **filters.run_values,
    )
    if groups.is_empty():
        return groups
    here = _values(groups.select("run_id", "checkpoint", "persona", "question_id"))
    before, total = groups.select("before", "total").row(0)
    return lake.select(
        f"""select c.run_id, c.example_id, c.sample_ix, f.marker, {total} as total
        from completions as c
        left join (from marker_flags as c where {among("c.run_id", groups["run_id"])}) as f using (run_id, example_id, sample_ix)
        semi join (values {here}) as q(run_id, checkpoint, persona, question_id)
          on q.run_id = c.run_id
          and q.checkpoint is not distinct from c.checkpoint
          and q.persona is not distinct from c.persona
          and q.question_id is not distinct from c.question_id
        where {among("c.run_id", groups["run_id"])} and {PRESENCE_SQL[filters.presence]}
        order by c.persona, c.question_id, c.checkpoint, c.run_id, c.sample_ix, f.marker limit {most} offset {after - before}"""
    )


def texts(lake: Source, found: pl.DataFrame) -> pl.DataFrame:
    """Rows of `generations` of these names, with their question and a subject that read them."""
    names = _values(found.drop("total"))
    return lake.select(
        f"""select c.*, e.question, s.subject as read_by
        from (values {names}) as p(run_id, example_id, sample_ix, marker)
        join generations as c
          on c.run_id = p.run_id and c.example_id = p.example_id and c.sample_ix = p.sample_ix::integer and c.marker is not distinct from p.marker
        left join examples as e on e.run_id = c.run_id and e.example_id = c.example_id
        left join (
          select tokens_run, persona, min(subject) as subject from subjects where not forced group by tokens_run, persona
        ) as s on s.tokens_run = c.run_id and s.persona = c.persona and c.positive
        where {among("c.run_id", found["run_id"])}
        order by {IN_ORDER}"""
    )


def _values(rows: pl.DataFrame) -> str:
    """Rows as SQL text."""
    return ", ".join(f"({', '.join('null' if each is None else quoted(str(each)) for each in row)})" for row in rows.rows())


def _names(there: pl.DataFrame, column: str) -> list[str]:
    return there[column].drop_nulls().unique().sort().to_list()
