"""One generation of the marker study in full: its text by region, and where attention goes at the positions that were read, over heads and head by head."""

import polars as pl
import streamlit as st

from personascope.app_pages.marker_attention.layers import Contrast
from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.bar import Place
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import REGION_COLOURS, answer_pieces, block, chips, coloured, legend, plain, prompt_pieces
from personascope.warehouse.drawing.attention_readouts import Readout
from personascope.warehouse.drawing.words import CONTROL_MEANINGS, REGION_NAMES, count, signed

BAR_HEIGHT = 24
CURVE_HEIGHT = 260
LEGEND = (("system", "system prompt"), ("user", "question"), ("header", "chat template"), ("assistant", "answer"))


def show_generation(lake: Source, readout: Readout, other: Readout | None, contrast: Contrast, place: Place) -> None:
    """The choice of a generation, one after another, then that generation: at the layer and the head of the bar, else at the peak and over heads."""
    peak = lake.select(
        "select peak_layer, n_layers from gate_counts where run_id = $run_id and subject = $subject", run_id=readout.run_id, subject=readout.subject
    )
    if peak.is_empty():
        st.info(f"No generation of {plain(readout.subject)} was read against C1.", icon=":material/article:")
        return
    layer = peak.item(0, "peak_layer") if place.layer is None else place.layer
    generations = lake.select(
        """select d.example_id, d.sample_ix, d.row_ix, d.delta, coalesce(e.question, d.question_id) as question
        from attention_delta as d
        left join (select run_id, example_id, any_value(question) as question from examples group by run_id, example_id) as e
          on e.run_id = d.tokens_run and e.example_id = d.example_id
        where d.run_id = $run_id and d.subject = $subject and d.control = $control and d.layer = $layer
        order by d.delta desc, d.example_id, d.sample_ix, d.row_ix""",
        run_id=readout.run_id,
        subject=readout.subject,
        control=contrast.control,
        layer=layer,
    )
    if generations.is_empty():
        st.info(f"No generation of {plain(readout.subject)} was read against {contrast.control} at layer {layer}.", icon=":material/article:")
        return
    rows = {_name(row): row for row in generations.iter_rows(named=True)}
    labels = {name: f"{signed(row['delta'])} · {row['question'] or name} · repeat {row['sample_ix']}" for name, row in rows.items()}
    wide, back, forth = st.columns([12, 2, 2], vertical_alignment="bottom")
    at = f"layer {layer}{', its largest effect' if place.layer is None else ''}"
    label = f"Generation, by marker minus {contrast.control} on the system prompt's content at {at}, largest first"
    chosen = address.select(label, list(rows), "example", labels=labels, where=wide)
    number = list(rows).index(chosen)
    for where, words, step, icon in ((back, "Previous", -1, ":material/chevron_left:"), (forth, "Next", 1, ":material/chevron_right:")):
        there = list(rows)[number + step] if 0 <= number + step < len(rows) else None
        where.button(words, key=words, icon=icon, disabled=there is None, on_click=_go, args=(there,), width="stretch")
    row = rows[chosen]
    left, right = st.columns([2, 3], gap="large")
    with left:
        st.caption(f"{number + 1} of {count(len(rows), 'generation')}")
        _show_text(lake, readout, row)
    with right:
        _show_positions(lake, readout, row, contrast, layer, place.head)
        _show_heads(lake, readout, row, contrast, layer)
        _show_layers(lake, [each for each in (readout, other) if each], row, contrast.control)


def _go(name: str | None) -> None:
    st.session_state["example"] = name


def _name(row: dict) -> str:
    return f"{row['example_id']}#{row['sample_ix']}" if row["example_id"] is not None else f"row {row['row_ix']}"


def _show_text(lake: Source, readout: Readout, row: dict) -> None:
    if readout.tokens_run is None or row["example_id"] is None:
        st.info("The text of this generation is not in the lake: its positives file was not ingested.", icon=":material/article:")
        return
    found = lake.select(
        """select g.*, e.text as rendered, e.system_prompt, e.question from generations as g left join examples as e using (run_id, example_id)
        where g.run_id = $tokens_run and g.example_id = $example_id and g.sample_ix = $sample_ix
        order by g.positive desc, g.marker limit 1""",
        tokens_run=readout.tokens_run,
        example_id=row["example_id"],
        sample_ix=row["sample_ix"],
    )
    if found.is_empty():
        st.info("The completions this generation came from are not in the lake.", icon=":material/article:")
        return
    text = found.row(0, named=True)
    facts = [f"{text['persona']} · {text['question_id']}", f"prompt {text['prompt_len']} tokens", f"answer {text['n_new_tokens']} tokens"]
    facts += [f"marker at token {text['t_marker']}"] if text["t_marker"] is not None else []
    facts += ["marker incomplete"] if text["partial"] else []
    facts += ["cut at the token limit"] if text["truncated"] else []
    pieces = prompt_pieces(text["rendered"], text["system_prompt"], text["question"] or "") + answer_pieces(text["text"], text["marker"])
    st.html(chips(facts))
    st.html(legend(entry for entry in LEGEND if entry[0] in {piece.region for piece in pieces}))
    st.html(block(coloured(pieces), max_height="46rem"))


def _show_positions(lake: Source, readout: Readout, row: dict, contrast: Contrast, layer: int, head: int | None) -> None:
    view, of_head = ("attention_fractions", "$head is null") if head is None else ("attention_fractions_by_head", "f.head = $head")
    rows = lake.select(
        f"""select p.position, p.from_marker, p.token, p.strata, f.region, any_value(f.fraction) as fraction
        from example_positions as p
        join {view} as f using (run_id, subject, example_id, sample_ix, position)
        where p.run_id = $run_id and p.subject = $subject and p.example_id = $example_id and p.sample_ix = $sample_ix
          and f.layer = $layer and f.segmentation = $segmentation and {of_head}
        group by all order by p.position""",
        head=head,
        run_id=readout.run_id,
        subject=readout.subject,
        example_id=row["example_id"],
        sample_ix=row["sample_ix"],
        layer=layer,
        segmentation=contrast.segmentation,
    )
    if rows.is_empty():
        st.info("Fractions at single positions were not published; only differences per generation were.", icon=":material/bar_chart:")
        return
    names = {region: name for (segmentation, region), name in REGION_NAMES.items() if segmentation == contrast.segmentation}
    rows = rows.with_columns(label=pl.Series([_label(position) for position in rows.iter_rows(named=True)]), part=pl.col("region").replace_strict(names)).drop(
        "region"
    )
    order = rows["label"].unique(maintain_order=True).to_list()
    colours = {name: REGION_COLOURS[region] for region, name in names.items()}
    whose = "mean over heads" if head is None else f"head {head}"
    figure = charts.stacked(rows, order, colours, f"share of attention, {whose}")
    facts = [f"one generation, layer {layer}, {whose}, {readout.name}; t is the marker's first token"]
    charts.show(figure, "positions", "Where attention goes at the positions read", facts, BAR_HEIGHT * len(order))


def _show_heads(lake: Source, readout: Readout, row: dict, contrast: Contrast, layer: int) -> None:
    """Every head of the layer at every position that was read: how much of its attention lies on the region of the contrast."""
    rows = lake.select(
        """select p.position, p.from_marker, p.token, p.strata, f.head, any_value(f.fraction) as fraction, any_value(f.entropy) as entropy
        from example_positions as p
        join attention_fractions_by_head as f using (run_id, subject, example_id, sample_ix, position)
        where p.run_id = $run_id and p.subject = $subject and p.example_id = $example_id and p.sample_ix = $sample_ix
          and f.layer = $layer and f.segmentation = $segmentation and f.region = $region
        group by all order by p.position, f.head""",
        run_id=readout.run_id,
        subject=readout.subject,
        example_id=row["example_id"],
        sample_ix=row["sample_ix"],
        layer=layer,
        segmentation=contrast.segmentation,
        region=contrast.region,
    )
    if rows.is_empty():
        return
    labels = pl.Series("label", [_label(position) for position in rows.iter_rows(named=True)])
    drawn = rows.select(labels, pl.col("head").cast(pl.String), "position", "from_marker", "entropy", rate="fraction")
    order = drawn["label"].unique(maintain_order=True).to_list()
    figure = charts.rate_matrix(drawn, "head", "label", "head, counted from 0", order)
    facts = [f"one generation, layer {layer}, {readout.name}: share of attention on the {contrast.region_name}; t is the marker's first token"]
    charts.show(figure, "positions by head", "The same positions head by head", facts, BAR_HEIGHT * len(order))


def _label(position: dict) -> str:
    """`C2 “does” t−3`: why the position was read beyond being a step before the marker, its token, its distance from the marker."""
    reasons = [stratum for stratum in position["strata"].split(", ") if not stratum.startswith("t-")]
    token = (position["token"] or "").replace("\n", "↵").replace("\t", "⇥").strip() or "␣"
    steps = position["from_marker"]
    offset = "" if steps is None else "t" if steps == 0 else f"t+{steps}" if steps > 0 else f"t−{-steps}"
    return "  ".join(part for part in (", ".join(reasons), f"“{token}”", offset) if part)


def _show_layers(lake: Source, readouts: list[Readout], row: dict, control: str) -> None:
    frames = [
        lake.select(
            """select $series as series, layer, delta as mean, null::double as low, null::double as high, marker_value as at_marker, control_value as at_control
            from attention_delta
            where run_id = $run_id and subject = $subject and control = $control and example_id is not distinct from $example_id
              and sample_ix is not distinct from $sample_ix and row_ix is not distinct from $row_ix
            order by layer""",
            series=each.name,
            run_id=each.run_id,
            subject=each.subject,
            control=control,
            example_id=row["example_id"],
            sample_ix=row["sample_ix"],
            row_ix=row["row_ix"],
        )
        for each in readouts
    ]
    rows = pl.concat(frames)
    figure = charts.curves(rows, "marker minus control, share of attention", [each.name for each in readouts])
    facts = [f"one generation, mean over heads, no error bars; minus {CONTROL_MEANINGS[control]}"]
    charts.show(figure, "example by layer", "The same generation by layer: system prompt, content", facts, CURVE_HEIGHT)
