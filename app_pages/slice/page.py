"""Everything that the lake knows of one checkpoint, persona and layer, from all studies, each figure with its n, interval and link."""

import polars as pl
import streamlit as st

from personascope.app_pages.shared import open_in_sql
from personascope.app_pages.shared.bar import asked, bar
from personascope.app_pages.shared.completion_card import show_card
from personascope.app_pages.shared.lake import Source, source
from personascope.app_pages.shared.links import page_link
from personascope.app_pages.shared.text import plain
from personascope.app_pages.slice.figures import show_sentences, show_topic
from personascope.warehouse.asking.slices import collect
from personascope.warehouse.asking.views import among
from personascope.warehouse.drawing.run_words import with_run_words
from personascope.warehouse.drawing.words import count

TITLE, ICON, ORDER = "Slice", ":material/layers:", 15
TOPICS = {
    "attention": "Attention at the marker",
    "personas": "Likeness to other personas",
    "directions": "Directions",
    "features": "Features that differ",
    "circuits": "Lens and patching",
    "role focus": "Role focus",
    "heads": "Heads",
    "completions": "Completions",
}
MOST_CARDS = 3


def main() -> None:
    """Draws the page."""
    st.title("Slice")
    st.markdown("Everything that the lake knows of one checkpoint, one persona and one layer.")
    lake = source()
    there = lake.select("select checkpoint, persona, n_layers, len(topics) as n from slice_places order by n desc, checkpoint, persona nulls last")
    if there.is_empty():
        st.info("Nothing has been measured in this lake yet: `personascope run marker-attention --quick` does in a few minutes.", icon=ICON)
        return
    checkpoint, persona, layer = choose(there)
    rows = with_run_words(lake, collect(lake, checkpoint, persona, layer))
    place = f"{checkpoint}{'' if persona is None else f' as {persona}'}{'' if layer is None else f', layer {layer}'}"
    where = plain(place)
    if rows.is_empty():
        st.info(f"Nothing is known of {where}.", icon=ICON)
        return
    st.subheader(where, divider="gray", anchor=False)
    views = rows["source"].n_unique()
    st.markdown(f"**{count(rows.height, 'figure')}** from {count(views, 'view')}. First what a reader asks first; intervals are at 95%.")
    show_sentences(rows)
    for topic, title in TOPICS.items():
        found = rows.filter(topic=topic)
        if not found.is_empty():
            st.subheader(title, divider="gray")
            show_topic(topic, found, place)
    missing = [title.lower() for topic, title in TOPICS.items() if rows.filter(topic=topic).is_empty()]
    if missing:
        st.caption(f"Nothing is known here of: {', '.join(missing)}.")
    show_generations(lake, checkpoint, persona)
    with st.expander("The same in a shell", icon=":material/terminal:"):
        same = query(checkpoint, persona, layer)
        st.code(same, language="sql", wrap_lines=True)
        open_in_sql.link(same)


def choose(there: pl.DataFrame) -> tuple[str, str | None, int | None]:
    """Checkpoint, persona and layer: what the bar says, else what most is known of."""
    checkpoints = there["checkpoint"].unique(maintain_order=True).to_list()
    wanted = asked("checkpoint")
    of = there.filter(checkpoint=wanted if wanted in checkpoints else checkpoints[0])
    depth = of["n_layers"].drop_nulls().max()
    layers = range(depth) if isinstance(depth, int) else range(0)
    personas = of["persona"].drop_nulls().to_list()
    place = bar(checkpoints=checkpoints, personas=personas, layers=layers)
    checkpoint = place.checkpoint or checkpoints[0]
    persona = place.persona or (personas[0] if personas else None)
    layer = place.layer if place.layer is not None or not len(layers) else layers[len(layers) // 2]
    unchosen = [
        words
        for words, is_open in (
            (f"checkpoint {plain(checkpoint)}", place.checkpoint is None),
            (f"persona {plain(persona)}", place.persona is None and persona is not None),
            (f"layer {layer}", place.layer is None and layer is not None),
        )
        if is_open
    ]
    if unchosen:
        st.caption(f"A slice is of one checkpoint, one persona and one layer. Until you choose, it is {', '.join(unchosen)}.")
    return checkpoint, persona, layer


def show_generations(lake: Source, checkpoint: str, persona: str | None) -> None:
    """A few of the texts, those with the marker first."""
    there = lake.select(
        "select distinct run_id from completion_structure where checkpoint = $checkpoint and persona is not distinct from $persona",
        checkpoint=checkpoint,
        persona=persona,
    )["run_id"]
    of_run = f" and {among('c.run_id', there)}" if len(there) == 1 else ""  # of a run that is named so, the flags are found at once
    rows = lake.select(
        f"""from generations as c where c.checkpoint = $checkpoint and c.persona is not distinct from $persona{of_run}
        order by c.positive desc, c.run_id, c.row_ix, c.example_id, c.sample_ix, c.marker limit {MOST_CARDS}""",
        checkpoint=checkpoint,
        persona=persona,
    )
    if rows.is_empty():
        return
    of_runs = among("run_id", rows["run_id"])
    questions = lake.select(f"select run_id, example_id, any_value(question) as question from examples where {of_runs} group by run_id, example_id")
    rows = rows.join(questions, on=["run_id", "example_id"], how="left", maintain_order="left")
    total = lake.select(
        "select count(*) as n from completions where checkpoint = $checkpoint and persona is not distinct from $persona",
        checkpoint=checkpoint,
        persona=persona,
    ).item()
    st.subheader("What it writes", divider="gray")
    everything = page_link("completions", checkpoint=checkpoint, **({} if persona is None else {"persona": persona}))
    st.markdown(f"{rows.height} of {count(total, 'completion')}, with the marker first: [all of them on Completions]({everything}).")
    for row in rows.iter_rows(named=True):
        show_card(row)


def query(checkpoint: str, persona: str | None, layer: int | None) -> str:
    """What gives the same rows in a shell."""
    of = f"(persona = {_text(persona)} or persona is null)" if persona is not None else "persona is null"
    at = f"(layer = {layer} or layer is null)" if layer is not None else "layer is null"
    return f"from slice where checkpoint = {_text(checkpoint)} and {of} and {at}"


def _text(words: str) -> str:
    return "'" + words.replace("'", "''") + "'"
