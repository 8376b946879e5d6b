"""How far an answer hangs on choices: every defensible choice in the order of its estimate, and below what was chosen (specification curve)."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

from personascope.warehouse.asking.source import Source, Value
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import BLUE, ORANGE, Drawing
from personascope.warehouse.drawing.headings import heading
from personascope.warehouse.drawing.maps import rate_cells
from personascope.warehouse.drawing.places import in_words
from personascope.warehouse.drawing.words import count, known, trainings

NEEDS = "runs of which more than one analysis is defensible: `personascope run marker-attention`, `lr-epochs`, `role-focus` or `sae-conditions`"
SHOWS = ("sensitivity", "sensitivity_attention", "sensitivity_rfc", "sensitivity_features", "sensitivity_regimes")
SIZES = (pl.col("mean").abs().max(), pl.col("rate").max())
HEIGHT, LINE, CELL, WIDTH = 240, 20, 50, 560
SAME, OTHER = "keeps the conclusion", "another conclusion"
LOOKS = {SAME: (BLUE, "●"), OTHER: (ORANGE, "○")}


class Question(NamedTuple):
    """One study question: its view, the columns that are choices, the key of one answer, what the answer is of (SQL), its title and the title of its axis."""

    view: str
    choices: tuple[str, ...]
    key: tuple[str, ...]
    of: str
    title: str
    axis: str


QUESTIONS = {
    "attention": Question(
        "sensitivity_attention",
        ("segmentation", "control", "measure", "layers"),
        ("trained_run", "base_run"),
        "trained_subject || ' against ' || base_subject",
        "Did training move attention to the system prompt?",
        "half-widths of its 95% interval",
    ),
    "rfc": Question(
        "sensitivity_rfc", ("measure", "layers"), ("instruct_run", "base_run", "family"), "family", "Did tuning compress RFC?", "instruct minus base"
    ),
    "features": Question(
        "sensitivity_features",
        ("rule", "level", "layer", "site", "stratum"),
        ("run_id", "sae_id", "condition_a", "condition_b"),
        "condition_a || ' against ' || condition_b",
        "Do features differ?",
        "features that differ",
    ),
}


def draw(lake: Source, study: str) -> list[Drawing]:
    """A curve and its choices for every answer of the study, and a map of every sweep: the share of the choices under which a cell is clean."""
    return [drawing for question in QUESTIONS for drawing in answers(lake, question, study)] + maps(lake, study)


def answers(lake: Source, question: str, study: str | None = None, **of: str) -> list[Drawing]:
    """Curve and choices of every answer to one of QUESTIONS; `of` fixes columns of its key, `study` takes runs of that study or of none."""
    asked = QUESTIONS[question]
    run, key = asked.key[0], ", ".join(asked.key)
    where = [f"{name} = ${name}" for name in of]
    where += [f"{run} in (select run_id from runs where coalesce(study, $study) = $study)"] if study is not None else []
    rows = lake.select(
        f"""select *, {asked.of} as answer_of, {run} as answer_run from {asked.view} where {" and ".join(where) or "true"}
        order by answer_of, {key}, estimate, {", ".join(asked.choices)}""",
        **({} if study is None else {"study": study}),
        **of,
    )
    found = rows.partition_by(*asked.key, maintain_order=True) if not rows.is_empty() else []
    drawings: list[Drawing] = []
    for each in found:
        if each["n_choices"][0] > 1 and each["reference"][0] is not None:
            drawings += _curve(each, asked)
    return drawings


def _curve(rows: pl.DataFrame, asked: Question) -> list[Drawing]:
    """The curve of one answer and the choices behind each of its points; a point is full where the choice keeps the reference's conclusion.

    Choices in several units stand on one axis in half-widths of their own intervals: beyond ±1 is told from zero. One without an interval is not drawn.
    """
    first, answer = rows.row(0, named=True), rows["answer_of"][0]
    bounded = "low" in rows.columns
    half = (pl.col("high") - pl.col("low")) / 2 if bounded else pl.lit(1.0)
    drawn = (
        in_words(rows)
        .with_columns(mean=pl.col("estimate") / half)
        .drop_nulls("mean")
        .select(
            *asked.choices,
            "mean",
            pl.col("mean").sub(1 if bounded else 0).alias("low"),
            pl.col("mean").add(1 if bounded else 0).alias("high"),
            *([pl.col("estimate"), pl.col("low").alias("interval_low"), pl.col("high").alias("interval_high")] if bounded else []),
            "conclusion",
            keeps=pl.col("conclusion") == pl.col("reference"),
            reference="is_reference",
        )
        .sort("mean", maintain_order=True)
        .with_row_index("place", 1)
        .with_columns(pl.col("place").cast(pl.Int64))
    )
    if drawn.is_empty():
        return []
    share = f"{first['n_same']} of {count(first['n_choices'], 'choice')} ({first['share_same']:.0%}) give the reference's conclusion: {first['reference']}"
    independent = "choices are no independent tests"
    facts = (
        f"{answer}: {share} (full points)",
        f"estimates over half their 95% interval, clustered by question: beyond ±1 is told from zero; {independent}"
        if bounded
        else f"no intervals: layers and features are no sample of anything; {independent}",
    )
    sample = _sample(first)
    runs, name = frozenset(rows["answer_run"]), f"{answer} {first['answer_run']}"
    points = charts.intervals(drawn, asked.axis, 1.0 if bounded else None, x="place", x_title="choice, by its estimate", full="keeps")
    cells = pl.concat(
        drawn.select("place", pl.concat_str(pl.lit(f"{heading(choice)}: "), pl.col(choice).cast(pl.String)).alias("chosen"), "keeps", "mean", "conclusion")
        for choice in asked.choices
    ).with_columns(state=pl.when("keeps").then(pl.lit(SAME)).otherwise(pl.lit(OTHER)))
    order = [f"{heading(choice)}: {value}" for choice in asked.choices for value in drawn[choice].unique().sort().cast(pl.String)]
    below = charts.states(cells, "place", "chosen", "choice, by its estimate", order, LOOKS, ("keeps",))
    return [
        Drawing(f"specification curve {name}", asked.title, (*facts, *sample), HEIGHT, points, runs),
        Drawing(f"specification choices {name}", f"{asked.title} What was chosen", (*facts, *sample), LINE * len(order), below, runs),
    ]


def _sample(reference: Mapping[str, Any]) -> list[str]:
    """What an answer rests on, where its view says so."""
    if "n_clusters" in reference:
        return [f"{count(reference['n'], 'generation')} of {count(reference['n_clusters'], 'question')}; one training seed"]
    if "n" in reference:
        return [f"{count(reference['n'], 'question')} under both conditions; one seed"]
    return []


def maps(lake: Source, study: str | None = None, **sweep: Value) -> list[Drawing]:
    """One map a sweep of more than one cell: the share of the choices under which it is clean, framed where the published rule says so.

    `sweep` fixes some of origin, source, parent, marker, recipe and seed, None being what the lake does not say.
    """
    where = [f"s.{name} is not distinct from ${name}" for name in sweep]
    where += ["coalesce(r.study, $study) = $study"] if study is not None else []
    rows = lake.select(
        f"""with cells as (
          select distinct s.origin, s.source, s.parent, s.marker, s.recipe, s.seed, s.lr, s.epochs, s.run_id, round(s.share_clean, 2) as rate, s.n_choices,
            s.reference
          from sensitivity_regimes as s join runs as r using (run_id)
          where {" and ".join(where) or "true"} and s.lr is not null and s.epochs is not null
        )
        select * from cells
        qualify row_number() over (partition by origin, source, parent, marker, recipe, seed, lr, epochs order by run_id) = 1
        order by origin, source, parent, marker, recipe, seed, lr, epochs""",
        **({} if study is None else {"study": study}),
        **sweep,
    )
    keys = ("origin", "source", "parent", "marker", "recipe", "seed")
    found = [each for each in rows.partition_by(*keys, maintain_order=True) if each.height > 1] if not rows.is_empty() else []
    return [_map(each.drop(*keys), each.row(0, named=True), f" {number}" if len(found) > 1 else "") for number, each in enumerate(found, 1)]


def _map(rows: pl.DataFrame, sweep: dict, suffix: str) -> Drawing:
    grid = rows.select("lr").unique().join(rows.select("epochs").unique(), how="cross")
    drawn = grid.join(rows, on=["lr", "epochs"], how="left").with_columns(
        words=pl.when(pl.col("reference") == "clean").then(pl.lit("C")).otherwise(pl.lit("")),
        framed=pl.col("reference").eq_missing("clean"),
        chosen=pl.lit(False),
    )
    most = max(rows["n_choices"])
    facts = (
        f"{sweep['origin']}: {count(rows.height, 'cell')}, source {known(sweep['source'])}, {trainings(sweep['origin'], sweep['seed'], sweep['recipe'])}",
        f"share of {count(most, 'choice')} of leak, thresholds and spelling under which a cell is clean",
        "framed: clean by the published rule; grey: not in this lake",
    )
    figure = rate_cells(drawn.sort("lr", "epochs").drop("run_id"), "epochs", "lr", ("epochs", "learning rate"))
    title = "Which cells are clean, over all choices"
    return Drawing(f"specification map{suffix}", title, facts, CELL * drawn["lr"].n_unique(), figure, frozenset(rows["run_id"]), WIDTH)
