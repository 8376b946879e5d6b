"""A training step by step: when the marker comes and leaks, and when the persona's direction is what it ends as."""

from collections.abc import Sequence

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.places import place_words
from personascope.warehouse.drawing.words import count, count_range

NEEDS = "a training that kept checkpoints on its way: `personascope run persona-gate`, or `keep_steps` in a step that trains"
SHOWS = ("dynamics",)
SIZES = (pl.col("mean").abs().max(),)
ALIKE = ("origin", "parent", "source_persona", "lr", "epochs", "recipe")  # of trainings that differ in the seed alone
HEIGHT, MOST_LAYERS, NEAR = 300, 6, 0.5
RATES = {"rate": "source", "negative": "negatives", "held_out": "held out", "others": "others"}
PARTS = {"projection": "projection of the source's answers", "cosine": "cosine to the final direction"}
STEP = "optimiser steps done"


def draw(lake: Source, study: str) -> list[Drawing]:
    """The figures of every training of the study that kept checkpoints, seeds of one recipe together."""
    trainings = lake.select(
        """select distinct d.training from dynamics as d join runs as r using (run_id) where r.study = $study order by d.training""",
        study=study,
    )["training"]
    return over_steps(lake, trainings.to_list())


def over_steps(lake: Source, trainings: Sequence[str]) -> list[Drawing]:
    """Rates, projections and cosines over the steps of trainings, those that differ in the seed alone in one figure; what was not measured is left out."""
    rows = lake.select(
        """select d.*, t.parent, t.epochs, t.recipe from dynamics as d left join recipes as t on t.checkpoint = d.training
        order by training, prompt_set, marker, direction, site, layer, step"""
    )
    rows = rows.filter(pl.col("training").is_in(list(trainings)))
    drawn: list[Drawing] = []
    for _, recipe in rows.group_by(*ALIKE, "marker", "prompt_set", maintain_order=True):
        drawn += [each for each in [_rates(recipe)] if each]
    for _, recipe in rows.group_by(*ALIKE, "direction", "site", maintain_order=True):
        drawn += [each for each in (_along(recipe, name) for name in PARTS) if each]
    return drawn


def _rates(rows: pl.DataFrame) -> Drawing | None:
    """The marker rate under the source and under the others by what they were in the training, a curve a role and seed."""
    rows = rows.unique(["run_id", "step"], maintain_order=True).filter(pl.col("rate").is_not_null())
    if rows["step"].n_unique() < 2:
        return None
    told = [name for name in ("negative", "held_out") if rows[f"{name}_rate"].count()] or ["others"]
    parts = [
        rows.select(
            _named(rows, RATES[name]),
            "step",
            pl.col(name if name == "rate" else f"{name}_rate").alias("mean"),
            pl.col(f"{name}_low").alias("low"),
            pl.col(f"{name}_high").alias("high"),
            "epoch",
            "loss",
            pl.col("n" if name == "rate" else "n_others").alias("n"),
            pl.col("n_questions").alias("questions"),
        )
        for name in ("rate", *told)
    ]
    drawn = pl.concat(parts).filter(pl.col("mean").is_not_null())
    first = rows.row(0, named=True)
    bands = "bands: 95% by question" if rows["rate_low"].count() else "questions not recorded: no intervals"
    n, n_others = (count_range(rows[name], "completion") for name in ("n", "n_others"))
    facts = (
        f"{n} under the source, {n_others} under others; {bands}",
        f"{_seeds(rows)}; learning rate {first['lr']:g}" if first["lr"] is not None else _seeds(rows),
    )
    title = f"When does {first['source_persona']} write the marker?"
    return _drawing(f"rates {first['prompt_set']}", title, facts, drawn, "share of completions with the marker", rows)


def _along(rows: pl.DataFrame, what: str) -> Drawing | None:
    """The projection of the source's answers, or the cosine of the direction to the final one, a curve a layer and seed."""
    rows = rows.unique(["run_id", "step", "layer"], maintain_order=True).filter(pl.col(what).is_not_null())
    if rows["step"].n_unique() < 2:
        return None
    layers = rows["layer"].unique().sort().to_list()
    shown = sorted({layers[round(place * (len(layers) - 1) / (MOST_LAYERS - 1))] for place in range(MOST_LAYERS)})
    rows = rows.filter(pl.col("layer").is_in(shown)).sort("layer", "training", "step")
    ends = {"low": "projection_low", "high": "projection_high"} if what == "projection" else {}
    drawn = rows.select(
        _named(rows, pl.format("layer {}", "layer")),
        "step",
        pl.col(what).alias("mean"),
        *(pl.col(ends[name]).alias(name) if ends else pl.lit(None, pl.Float64).alias(name) for name in ("low", "high")),
        *(["others_projection"] if ends else ["ceiling"]),
    )
    first = rows.row(0, named=True)
    said = (
        "every step reads the answers of the trained model, in units of the activations; bands: 95%, Student t over questions"
        if ends
        else "cosine of two vectors: no interval"
    )
    of_all = "" if len(shown) == len(layers) else f" of {len(layers)}"
    facts = (f"{first['direction']} of {first['training']}, {place_words(first['site'])}; {count(len(shown), 'layer')}{of_all}, {_seeds(rows)}", said)
    title = f"How far do answers of {first['source_persona']} lie along {first['direction']}?" if ends else f"When is {first['direction']} what it ends as?"
    return _drawing(f"{what} {first['direction']} {first['site']}", title, facts, drawn, PARTS[what], rows, near=not ends)


def _named(rows: pl.DataFrame, words: str | pl.Expr) -> pl.Expr:
    """The name of a curve, with the seed where there are several."""
    named = pl.lit(words) if isinstance(words, str) else words
    return (pl.format("{}, seed {}", named, "seed") if rows["seed"].n_unique() > 1 else named).alias("series")


def _seeds(rows: pl.DataFrame) -> str:
    """How many trainings there are, as a fact under a title."""
    seeds = rows["seed"].drop_nulls().n_unique()
    return count(seeds, "seed") if seeds else "seed not recorded"


def _drawing(what: str, title: str, facts: tuple[str, ...], drawn: pl.DataFrame, y_title: str, rows: pl.DataFrame, near: bool = False) -> Drawing:
    """The curves; `near`: figures that all lie above NEAR are drawn near their lines."""
    names = drawn["series"].unique(maintain_order=True).to_list()[: len(charts.SERIES)]
    figure = charts.curves(drawn.filter(pl.col("series").is_in(names)), y_title, names, "step", STEP, near=near and min(drawn["mean"]) > NEAR)
    return Drawing(f"training dynamics {rows['training'][0]} {what}", title, facts, HEIGHT, figure, frozenset(rows["run_id"]))
