"""One prompt, section of the circuits page: what the logit lens reads at every layer and position that was read, with the tokens that come next on hovering."""

import polars as pl
import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.circuit_readers import Reader
from personascope.warehouse.drawing.maps import token_grid
from personascope.warehouse.drawing.words import count

ROW, MOST_SHOWN = 22, 5
REACH = {"end": "Last 12", "all": "All"}
LAST, MOST_POSITIONS = 12, 200
MOST_PROMPTS = 500


def show_prompt(lake: Source, reader: Reader) -> None:
    """The grid of one prompt, layers upwards."""
    if reader.lens_run is None:
        st.info(f"No logit lens of {plain(reader.subject)} was read: `personascope extract logit_lens` reads one.", icon=":material/grid_on:")
        return
    prompts = lake.select(
        """select example_id, sample_ix, any_value(prompt_form) as prompt_form, any_value(target) as target,
          example_id || coalesce('#' || sample_ix, '') as name
        from logit_lens where run_id = $run and rank = 1 and layer = 0 and stratum = $stratum
        group by example_id, sample_ix order by prompt_form, target, example_id, sample_ix""",
        run=reader.lens_run,
        stratum=reader.stratum,
    )
    labels = {
        row["name"]: f"{row['target']} ({row['prompt_form']})" if row["target"] and row["prompt_form"] else row["name"]
        for row in prompts.head(MOST_PROMPTS).rows(named=True)
    }
    left, right = st.columns([3, 1])
    name = address.select("Prompt", list(labels), "prompt", labels=labels, where=left)
    reach = address.segments("Positions", list(REACH), "positions", labels=REACH, where=right)
    chosen = prompts.row(prompts["name"].to_list().index(name), named=True)
    rows = lake.select(
        f"""select l.position, l.layer, max(l.token) filter (l.rank = 1) as token, max(l.prob) filter (l.rank = 1) as probability,
          max(l.script) filter (l.rank = 1) as script, max(l.target_rank) as target_rank, max(l.target_prob) as target_probability,
          max(l.stratum) as place, coalesce(bool_or(l.rank = 1 and l.token_id = l.target_id), false) as framed,
          string_agg(case when l.rank between 2 and {MOST_SHOWN} then l.token || ' ' || round(100 * l.prob, 1) || '%' end, ' · ' order by l.rank) as then_come
        from logit_lens as l
        where l.run_id = $run and l.subject = $subject and l.example_id = $example and l.sample_ix is not distinct from $sample
        group by l.position, l.layer
        qualify dense_rank() over (order by l.position desc) <= $most
        order by l.position, l.layer""",
        run=reader.lens_run,
        subject=reader.subject,
        example=chosen["example_id"],
        sample=chosen["sample_ix"],
        most=LAST if reach == "end" else MOST_POSITIONS,
    ).with_columns(shown=_visible("token"), token=_visible("token"), then_come=_visible("then_come"))
    figure = token_grid(rows, "position", "layer", "shown", "probability", ("position in the tokens, from 0", "layer", "probability"), ("shown",))
    facts = [
        f"{reader.subject}; {chosen['example_id']}; {count(rows['position'].n_unique(), 'position')}; −1 is the embeddings",
        "top-1 token of the logit lens, final norm applied; framed: it is the target; one prompt, so no interval and no seed",
    ]
    height = ROW * rows["layer"].n_unique()
    charts.show(figure, f"logit lens {name}", "What each layer would say next", facts, height)


def _visible(column: str) -> pl.Expr:
    """Tokens with their spaces and line breaks to be seen."""
    return pl.col(column).str.replace_all("\n", "⏎").str.replace_all("^ ", "␣")
