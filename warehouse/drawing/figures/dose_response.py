"""What more and more of a direction does to the marker, beside random directions of the same length, with what is left of the model."""

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.charts import Drawing
from personascope.warehouse.drawing.words import count_range, signed

NEEDS = "a model steered along directions: `personascope run persona-gate`, or `personascope extract steering`"
SHOWS = ("steering_effects",)
SIZES = (pl.col("mean").abs().max(),)
HEIGHT, MOST = 320, 12
OUTCOMES = {
    "marker_log_prob": "log-probability of the marker at t*, change in nats",
    "marker_rate": "share of answers with the marker, change",
    "answer_nll": "log-perplexity of the answer, change in nats a token",
}
ASKED = {"all": "over all personas asked", "others": "over those of them that were not trained", "task": "over the questions of the task"}
UNITS = {"norm": "dose, mean lengths of the residual stream", "distance": "dose, mean distances between personas", "share": "share of the change that is made"}


def draw(lake: Source, study: str) -> list[Drawing]:
    """One figure per run, direction and layer with two doses or more, the largest effects first: at most twelve."""
    arms = lake.select(
        """select run_id, direction, layer, mode, max(abs(difference)) as most
        from steering_effects as e join runs as r using (run_id)
        where r.study = $study and persona = 'all' and outcome = 'marker_log_prob' and not coalesce(e.kind in ('random', 'random_in_span', 'shuffled'), false)
        group by run_id, direction, layer, mode having count(distinct dose) > 1 order by most desc, run_id, direction, layer, mode limit $most""",
        study=study,
        most=MOST,
    )
    drawn = [response(lake, run, direction, layer, mode) for run, direction, layer, mode, _ in arms.iter_rows()]
    return [each for each in drawn if each is not None]


def asked(persona: str, forced: bool) -> str:
    """Whose answers an effect is of, as a fact under a title."""
    return f"{ASKED.get(persona, f'under {persona}')}{', over given answers' if forced else ''}"


def response(lake: Source, run: str, direction: str, layer: int | None, mode: str, persona: str = "all", outcome: str = "marker_log_prob") -> Drawing | None:
    """The effect of one direction by dose with its interval, and the middle 95% of its controls; None where there is none."""
    rows = lake.select(
        """select dose, difference, low, high, control_mean, control_low, control_high, n_controls, control_kind, control_p_adjusted, n,
          n_clusters as questions, subject, forced, unit, exp(nll_change) as perplexity, capability_change, is_broken
        from steering_effects
        where run_id = $run and direction = $direction and layer is not distinct from $layer and mode = $mode and persona = $persona and outcome = $outcome
        order by dose""",
        run=run,
        direction=direction,
        layer=layer,
        mode=mode,
        persona=persona,
        outcome=outcome,
    )
    if rows.is_empty():
        return None
    first = rows.row(0, named=True)
    beside = ["dose", "n", "questions", "perplexity", "capability_change", "is_broken"]
    own = rows.select(pl.lit(direction).alias("series"), pl.col("difference").alias("mean"), "low", "high", pl.col("control_p_adjusted").alias("p"), *beside)
    names, parts = [direction], [own]
    if (controls := rows.filter(pl.col("n_controls") > 0)).height:
        names.append(f"{count_range(controls['n_controls'], 'direction')} of kind {controls['control_kind'][0]}, middle 95%")
        ends = [pl.col(f"control_{name}").alias(name) for name in ("mean", "low", "high")]
        parts.append(rows.select(pl.lit(names[1]).alias("series"), *ends, pl.lit(None, pl.Float64).alias("p"), *beside))
    zero = [
        pl.DataFrame({"series": [name], "mean": [0.0], "low": [0.0], "high": [0.0], "dose": [0.0], "n": [first["n"]], "questions": [first["questions"]]})
        for name in names
    ]
    drawn = pl.concat([*zero, *parts], how="diagonal_relaxed").sort("series", "dose")
    broken = rows.filter("is_broken")["dose"].to_list()
    health = (
        f"perplexity times {rows.select(pl.col('perplexity').max()).item():.2f} at most"
        if rows["perplexity"].null_count() < rows.height
        else "perplexity not measured"
    )
    if rows["capability_change"].null_count() < rows.height:
        health += f", right answers {signed(rows.select(pl.col('capability_change').min()).item(), 2)} at least"
    answers = f"{count_range(rows['n'], 'answer')} of {count_range(rows['questions'], 'question')}{'' if rows['n'].n_unique() == 1 else ' a dose'}"
    facts = (
        asked(persona, first["forced"]),
        f"{answers}, paired with dose 0; bands: 95% t interval by question, middle of controls",
        f"unsteered model against answers: {health}",
        "no dose breaks the model" if not broken else f"THE MODEL BREAKS at dose {', '.join(f'{dose:g}' for dose in broken)}",
    )
    where = "all its layers at once" if layer is None else f"layer {layer}"
    figure = charts.curves(drawn, OUTCOMES.get(outcome, f"{outcome}, change"), names, "dose", UNITS[first["unit"]])
    title = f"{first['subject']}: {direction}, {mode.replace('_', ' ')}, at {where}"
    return Drawing(f"dose response {run} {direction} {mode} {'all' if layer is None else layer}", title, facts, HEIGHT, figure, frozenset({run}))
