"""The coverage matrix of the overview: who was sampled as which persona, who read whose tokens, and what is missing."""

import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.bar import Place
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.words import count

STATES = {"present": (charts.BLUE, "✓"), "missing": (charts.ORANGE, "✗"), "extra": (charts.GREY, "✓")}
CELL = 30  # pixels
MOST_GAPS, MOST_CHECKPOINTS = 8, 30  # gaps that are told, where there are more the others fold; checkpoints drawn at a time
IN_PLACE = "coalesce(checkpoint = $checkpoint, true) and coalesce(persona = $persona, true)"
READ = f"(extractor = 'completions' or exists (from coverage where extractor = 'attention' and status <> 'missing' and {IN_PLACE}))"
OF = "coalesce(tokens_from, checkpoint)"  # whose tokens they are, so that readers of the same stand together


def show_coverage(lake: Source, place: Place) -> None:
    """Checkpoint by persona and extractor, so that a gap shows by itself."""
    st.subheader("Coverage", divider="gray")
    chosen = {"checkpoint": place.checkpoint, "persona": place.persona}
    counted = lake.select(
        f"""select {OF} as tokens_of, count(*) filter (extractor = 'attention' and status <> 'missing') as n_read,
          count(*) filter (status <> 'missing') as n_filled, count(*) filter (status = 'missing') as n_gaps
        from coverage where {IN_PLACE} and {READ} group by tokens_of order by tokens_of nulls last""",
        **chosen,
    )
    if counted.is_empty():
        st.info("No completions and no attention have been read yet.", icon=":material/grid_off:")
        return
    n_filled, n_gaps = (int(counted[name].sum()) for name in ("n_filled", "n_gaps"))
    names = counted["tokens_of"].to_list()
    drawn = address.some(names, MOST_CHECKPOINTS, "Checkpoints", "covered")
    rows = lake.select(
        f"""select
          checkpoint || case extractor
            when 'completions' then ' · completions'
            else case when checkpoint = tokens_from then ' · attention, own tokens' else ' · attention, tokens of ' || tokens_from end
          end || case origin when 'extracted' then '' else ' (' || origin || ')' end as what,
          persona,
          case when status = 'missing' then 'missing' when expected then 'present' else 'extra' end as state,
          n_runs as runs,
          n_seeds as training_seeds,
          checkpoint,
          extractor,
          tokens_from,
          origin
        from coverage
        where {IN_PLACE} and {READ} and {OF} between $first and $last
        order by {OF}, extractor desc, checkpoint <> tokens_from, checkpoint, origin, persona""",
        **chosen,
        first=drawn[0],
        last=drawn[-1],
    )
    order = rows["what"].unique(maintain_order=True).to_list()
    figure = charts.states(rows, "persona", "what", "persona of the system prompt", order, STATES, hidden=("checkpoint", "extractor", "tokens_from", "origin"))
    facts = [f"{count(n_filled, 'cell')} filled, {count(n_gaps, 'gap')}; extra: there, though the design of the study does not ask for it"]
    if len(drawn) < len(names):
        facts.append(f"drawn: {count(len(drawn), 'checkpoint')} of {len(names):,}")
    if not counted["n_read"].sum():  # a lake of another study lacks no attention
        facts.append("no attention was read in this lake, so none is called missing")
    charts.show(figure, "coverage", "Who was sampled, and who read whose tokens", facts, CELL * len(order))
    if n_gaps:
        show_gaps(lake, n_gaps, chosen)


def show_gaps(lake: Source, n_gaps: int, chosen: dict[str, str | None]) -> None:
    """What is missing, a line each, the first of them in sight."""
    gaps = lake.select(
        f"""select checkpoint, extractor, tokens_from, persona from coverage where status = 'missing' and {IN_PLACE} and {READ}
        order by {OF}, extractor desc, checkpoint <> tokens_from, checkpoint, origin, persona""",
        **chosen,
    )
    lines = [f"- {_gap(row)}" for row in gaps.iter_rows(named=True)]
    st.warning("\n".join([f"{count(n_gaps, 'gap')}:", *lines[:MOST_GAPS]]), icon=":material/warning:")
    if len(lines) > MOST_GAPS:
        with st.expander(f"{len(lines) - MOST_GAPS} more gaps"):
            st.markdown("\n".join(lines[MOST_GAPS:]))


def _gap(row: dict[str, str]) -> str:
    checkpoint, persona = plain(row["checkpoint"]), plain(row["persona"])
    if row["extractor"] == "completions":
        return f"**{checkpoint}** has no completions as {persona}"
    if row["checkpoint"] == row["tokens_from"]:
        return f"**{checkpoint}** has not read its own tokens as {persona}"
    tokens_from = plain(row["tokens_from"])
    return f"**{checkpoint}** has not read the tokens of {tokens_from} as {persona}: what training changed in {tokens_from} cannot be told without it"
