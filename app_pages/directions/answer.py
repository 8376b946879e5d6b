"""One answer, every token coloured by how far it lies along the direction."""

import polars as pl
import streamlit as st

from personascope.app_pages.directions.reading import Reading
from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import block, shaded

HEIGHT, MOST = 220, 200


def show_answer(lake: Source, reading: Reading) -> None:
    """Chooses an answer, colours its tokens and draws their projections."""
    answers = lake.select(
        """select run_id, subject, example_id, sample_ix, count(*) as n from projections
        where directions_run = $run and direction = $direction and site = $site and layer = $layer and stratum = 'answer'
          and persona is not distinct from coalesce($persona, persona)
        group by all order by subject, example_id, sample_ix, run_id limit $most""",
        **reading.values,
        persona=reading.persona,
        most=MOST,
    )
    if answers.is_empty():
        return
    st.subheader("One answer", divider="gray")
    options = [str(number) for number in range(answers.height)]
    labels = [f"{row['subject']}: {row['example_id']}, repeat {row['sample_ix']} · {row['run_id']}" for row in answers.iter_rows(named=True)]
    picked = answers.row(int(address.select("Answer", options, "answer", labels=dict(zip(options, labels, strict=True)))), named=True)
    rows = lake.select(
        """select p.step, p.token, p.value as mean, p.value - d.middle as moved, d.reach from projections as p, (
          select avg(mean) as middle, greatest(max(mean) - avg(mean), avg(mean) - min(mean)) as reach from drift
          where directions_run = $run and direction = $direction and site = $site and layer = $layer and stratum = 'answer' and run_id = $read
        ) as d
        where p.run_id = $read and p.example_id = $example and p.sample_ix = $sample and p.directions_run = $run and p.direction = $direction
          and p.site = $site and p.layer = $layer and p.stratum = 'answer' order by p.step""",
        **reading.values,
        read=picked["run_id"],
        example=picked["example_id"],
        sample=picked["sample_ix"],
    )
    st.html(block(shaded(rows.select("token", "moved").rows(), rows["reach"][0]), max_height="22rem"))
    tints = "the strongest tint lies as far off as the mean of any token number does"
    st.caption(f"Orange lies further along the direction than answers of this run do on average, blue less far; {tints}.")
    facts = [reading.words, "one answer: no interval; in units of the activations"]
    drawn = rows.select(pl.lit("projection").alias("series"), "step", "mean", "token").with_columns(low=pl.lit(None, pl.Float64), high=pl.lit(None, pl.Float64))
    figure = charts.curves(drawn, "projection", ["projection"], "step", "token of the answer, from 0")
    charts.show(figure, "one answer along a direction", f"{picked['example_id']}, repeat {picked['sample_ix']}: layer {reading.layer}", facts, HEIGHT)
