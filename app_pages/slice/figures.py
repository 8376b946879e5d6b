"""How the figures of a slice read: a sentence each for those a reader wants first, a chart of those in one unit, and a table of all."""

from textwrap import fill

import polars as pl
import streamlit as st

from personascope.app_pages.shared import charts
from personascope.app_pages.shared.bar import place_query
from personascope.app_pages.shared.links import LINK_WORDS, page_link, page_title
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.places import place_words
from personascope.warehouse.drawing.words import count, p_value

LINE, GAP, LABEL, MOST_DRAWN, MOST_TABLE = 15, 12, 36, 20, 14
WHAT, SIDE, UNIT, NUMBER = 290, 170, 90, 95  # pixels of columns of words and of numbers
TALL, MOST_TALL = 66, 8  # pixels of a row tall enough for Streamlit to wrap words; how many of those are shown
LETTERS = 0.135  # of a column's words, to a pixel
DIGITS = {"share": 3, "share of attention": 4, "share of entropy": 4, "cosine": 4, "probability": 4, "nats": 3, "logits": 3}
NAMED_BY_MEASURE = ("share", "cosine", "probability")  # units that a sentence need not repeat
HEADLINES = (
    "marker_rates",
    "diff_of_diffs",
    "attention_effects",
    "rfc_diff",
    "feature_test_summary",
    "marker_lens",
    "patch_effects",
    "head_selection",
    "head_worths",
)
PICKED = ("patch_effects", "head_selection", "head_worths")  # of many places the one with the largest figure is told
MOST_SENTENCES = 3  # of one view


def number(value: float, unit: str) -> str:
    """A figure as a sentence has it: a share of completions in percent, the rest signed by its own size."""
    if unit == "share":
        return f"{100 * value:.3g}%"
    return f"{value:.{DIGITS.get(unit, 3)}f}".replace("-", "\N{MINUS SIGN}") if unit in DIGITS else f"{value:g}"


def sentence(row: dict) -> str:
    """`Attention at the marker …, against base: −0.10 share of attention (95% −0.16 to −0.05; 90 generations, 20 questions; p = 0.005): moved.`"""
    head = "" if row["head"] is None else f", head {row['head']}"
    subject = ", ".join(filter(None, [f"{row['measure']}{head}", row["other"], place_words(row["place"])]))
    unit = "" if row["unit"] in NAMED_BY_MEASURE else f" {row['unit']}"
    facts = []
    if row["low"] is not None:
        facts.append(f"95% {number(row['low'], row['unit'])} to {number(row['high'], row['unit'])}")
    if row["n"] is not None:
        clusters = "" if row["n_clusters"] is None or row["n_of"] == "questions" else f" of {count(row['n_clusters'], 'question')}"
        facts.append(f"{_counted(row['n'], row['n_of'])}{clusters}")
    if row["p"] is not None:
        facts.append(p_value(row["p"]))
    said = f": {plain(row['verdict'])}" if row["verdict"] else ""
    words = plain(subject)
    value = "not told" if row["value"] is None else f"{number(row['value'], row['unit'])}{unit}"
    return f"{words[:1].upper()}{words[1:]}: **{value}** ({plain('; '.join(facts))}){said}."


def _counted(n: int, what: str) -> str:
    """`3 generations`, `1 generation`, `2 activations of the smaller side`."""
    word, *rest = what.split(" ", 1)
    return " ".join([count(n, word.removesuffix("s")), *rest])


def show_sentences(rows: pl.DataFrame) -> None:
    """The figures a reader wants first, a few a view; the rest stands below."""
    lines = _neighbours(rows.filter(pl.col("unit") == "cosine"))
    for view in HEADLINES:
        told = rows.filter((pl.col("source") == view) & pl.col("value").is_not_null())
        if view in PICKED:
            largest = told.sort(pl.col("value").abs(), descending=True, maintain_order=True).head(1)
            more = f" It is the largest of {told.height}." if told.height > 1 else ""
            lines += [f"- {sentence(row)}{more}" for row in largest.iter_rows(named=True)]
        else:
            lines += [f"- {sentence(row)}" for row in told.head(MOST_SENTENCES).iter_rows(named=True)]
    if lines:
        st.markdown("\n".join(lines))


def _neighbours(cosines: pl.DataFrame) -> list[str]:
    """The nearest and the farthest persona of each place that was read, by the cosine that tells most."""
    lines = []
    for place in cosines["place"].unique(maintain_order=True).to_list():
        here = cosines.filter(place=place)
        told = here.filter(measure=here["measure"].to_list()[-1]).sort("value", maintain_order=True)
        ends = {"Nearest": told.tail(1), "Farthest": told.head(1)} if told.height > 1 else {"Beside": told}
        lines += [f"- {name}: {sentence(row)}" for name, end in ends.items() for row in end.iter_rows(named=True)]
    return lines[: 2 * MOST_SENTENCES]


def show_topic(topic: str, rows: pl.DataFrame, place: str) -> None:
    """One topic of the slice at `place`: figures with an interval and cosines as points, a chart a unit that has several, and all of them as a table."""
    first = {view: place for place, view in enumerate(HEADLINES)}
    rows = rows.sort(pl.col("source").replace_strict(first, default=len(first)), maintain_order=True)
    for unit in rows["unit"].unique(maintain_order=True).to_list():
        drawn = rows.filter((pl.col("unit") == unit) & pl.col("value").is_not_null() & (pl.col("low").is_not_null() | (pl.col("unit") == "cosine")))
        if drawn.height > 1:
            _draw(topic, unit, drawn, place)
    _show_table(rows)


def _draw(topic: str, unit: str, rows: pl.DataFrame, place: str) -> None:
    """The largest figures in one unit with their 95% intervals."""
    largest = rows.sort(pl.col("value").abs(), descending=True, maintain_order=True).head(MOST_DRAWN)
    order = {measure: place for place, measure in enumerate(rows["measure"].unique(maintain_order=True))}
    size = pl.col("value") if unit == "cosine" else pl.col("value").abs()
    largest = largest.sort(pl.col("measure").replace_strict(order), size, descending=[False, True], maintain_order=True)
    largest = largest.with_columns(label=pl.Series(_labels(largest), dtype=pl.String), mean=pl.col("value"))
    drawn = largest.select("label", "mean", "low", "high", "p", "n", "n_of", "n_clusters", "method")
    left_out = f"; the {MOST_DRAWN} largest of {rows.height}" if rows.height > MOST_DRAWN else ""
    methods = rows["method"].str.split("; p").list.first().unique(maintain_order=True).to_list()
    counted = [f"{_range(rows.filter(n_of=what)['n'])} {what}" for what in rows["n_of"].unique(maintain_order=True).to_list()]
    clusters = rows["n_clusters"].drop_nulls()
    height = sum(LINE * (label.count("\n") + 1) + GAP for label in drawn["label"])
    what = _only_measure(largest) or unit
    bar = "no intervals" if rows["low"].null_count() == rows.height else "bar: 95% interval"
    facts = [place, f"n: {', '.join(counted)}{f', {_range(clusters)} questions' if len(clusters) else ''}; {bar}{left_out}", *methods[:3]]
    charts.show(
        charts.spans(drawn, unit, ""), f"slice {topic} {unit}", f"{topic.capitalize()}: {what}", facts, height, runs=set(largest["run_id"].drop_nulls())
    )


def _only_measure(rows: pl.DataFrame) -> str | None:
    """The measure that all the rows share, None where they do not."""
    return rows["measure"][0] if rows["measure"].n_unique() == 1 else None


def _labels(rows: pl.DataFrame) -> list[str]:
    """What each figure is called in the chart: the measure unless all share it, the head, and as much else as it takes to tell the figures apart."""
    one = _only_measure(rows) is not None
    named = [{**row, "place": place_words(row["place"])} for row in rows.iter_rows(named=True)]
    parts = [[*([] if row["head"] is None else [f"head {row['head']}"]), *([] if one else [row["measure"]])] for row in named]
    for name in ("other", "place", "run", "run_id"):
        more = [[*part, row[name]] if row[name] else part for part, row in zip(parts, named, strict=True)]
        parts = more if len({*map(tuple, more)}) > len({*map(tuple, parts)}) else parts
    return [fill(" · ".join(part) or row["measure"], LABEL) for part, row in zip(parts, named, strict=True)]


def _range(numbers: pl.Series) -> str:
    known = numbers.drop_nulls()
    if known.is_empty():
        return "an unrecorded number of"
    ends = known.sort().to_list()
    low, high = ends[0], ends[-1]
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _show_table(rows: pl.DataFrame) -> None:
    """Every figure with what it rests on, and a link to the page that shows it."""
    place = [place_words(each) for each in rows["place"]]
    links = [
        page_link(
            row["page"],
            words=page_title(row["page"]),
            **place_query(checkpoint=row["checkpoint"], persona=row["persona"], layer=row["layer"], head=row["head"]),
        )
        for row in rows.iter_rows(named=True)
    ]
    table = rows.select(
        "measure",
        "head",
        "other",
        pl.Series("place", place, dtype=pl.String),
        "value",
        "low",
        "high",
        "unit",
        "n",
        "n_of",
        "n_clusters",
        "p",
        "verdict",
        pl.Series("link", links, dtype=pl.String),
        "method",
        pl.when(pl.col("persona").is_null()).then(pl.lit("none, or several together")).otherwise(pl.lit("this one")).alias("of_persona"),
        "source",
        "run_id",
    )
    empty = [name for name in ("head", "other", "place", "low", "high", "p", "n_clusters", "verdict") if table[name].null_count() == table.height]
    config: charts.Columns = {
        "measure": st.column_config.TextColumn("what", width=WHAT),
        "head": st.column_config.NumberColumn("head", width=50),
        "other": st.column_config.TextColumn("against", width=SIDE),
        "place": st.column_config.TextColumn("where", width=SIDE),
        "value": st.column_config.NumberColumn("figure", format="%.4g"),
        "low": st.column_config.NumberColumn("95% from", format="%.4g", width=NUMBER),
        "high": st.column_config.NumberColumn("to", format="%.4g", width=NUMBER),
        "unit": st.column_config.TextColumn("in", width=UNIT),
        "p": st.column_config.NumberColumn("p", format="%.3g"),
        "n_of": "counted in",
        "n_clusters": "questions",
        "verdict": st.column_config.TextColumn("says", width=SIDE),
        "of_persona": st.column_config.TextColumn("persona", help="Figures of no persona, or of several together, hold whichever is chosen."),
        "method": st.column_config.TextColumn("how", width=WHAT),
        "link": st.column_config.LinkColumn("shown on", display_text=LINK_WORDS, width=120),
        "source": st.column_config.TextColumn("view", help="It knows more of the figure: `from VIEW`."),
        "run_id": "run",
    }
    wide = (("measure", WHAT), ("method", WHAT), ("other", SIDE), ("place", SIDE), ("verdict", SIDE))
    cut = max(max(table[name].str.len_chars().drop_nulls(), default=0) / width for name, width in wide)
    most, row = (MOST_TALL, TALL) if cut > LETTERS else (MOST_TABLE, charts.TABLE_ROW)
    height = charts.table_height(table, most, row)
    st.dataframe(table.drop(empty), hide_index=True, column_config=config, height=height, row_height=row, placeholder="–")
