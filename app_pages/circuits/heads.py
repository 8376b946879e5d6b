"""Heads, section of the circuits page: direct attribution against ablation, attention sinks, and a table of every figure of every head."""

import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.bar import Place
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.circuit_readers import Reader
from personascope.warehouse.drawing.figures.attention_sinks import sinks
from personascope.warehouse.drawing.figures.attribution_against_ablation import EFFECTS, METHODS, agreement, heads
from personascope.warehouse.drawing.tables import with_values
from personascope.warehouse.drawing.words import count_range

MOST_ROWS = 16
LABELS = {"log_prob": "Log-probability", "margin": "Margin", "logit": "Raw logit"}
EFFECT_HELP = (
    "Log-probability: nats the target loses. Margin: what its logit minus the likeliest other token's loses. Raw logit: a shift that all logits share, which "
    "changes nothing the model says, counts too."
)


def show_heads(lake: Source, reader: Reader, place: Place) -> None:
    """What each head adds and what is lost without it; of one layer or one head where `place` says so."""
    if reader.attribution_run is None and reader.ablation_run is None:
        st.info(f"Neither attributions nor ablations of {plain(reader.subject)} are in this lake.", icon=":material/hub:")
        return
    found = lake.select(
        """select distinct prompt_form, layer from head_effects
        where attribution_run is not distinct from $attribution and ablation_run is not distinct from $ablation and stratum = $stratum
        order by prompt_form = 'all' desc, prompt_form, layer""",
        attribution=reader.attribution_run,
        ablation=reader.ablation_run,
        stratum=reader.stratum,
    )
    forms, layers = (found[name].unique(maintain_order=True).to_list() for name in ("prompt_form", "layer"))
    if not forms:
        st.info(f"No heads of {plain(reader.subject)} were read at {plain(reader.stratum)}.", icon=":material/hub:")
        return
    methods, effects = _methods(lake, reader), _effects(lake, reader)
    left, right = st.columns(2)
    form = address.select("Phrasing", forms, "form", labels={each: reader.form_words(each) for each in forms}, where=left)
    layer = place.layer if place.layer in layers else None
    method = address.segments("Ablation", methods, "method", where=left) if methods else None
    effect = address.segments("Effect on", effects, "effect", labels=LABELS, help=EFFECT_HELP, where=right) if methods else effects[0]
    if method is not None and reader.attribution_run is not None:
        both = heads(lake, reader, method, effect, form, layer, "attribution against ablation")
        ranks = agreement(lake, reader, EFFECTS[effect].direct, method, effect, form, "rank agreement")
        for drawing in (both, ranks):
            if drawing is not None:
                charts.show_drawing(drawing)
    if method == "zero" and (sieve := agreement(lake, reader, "sieve", "zero", "logit", form, "sieve")) is not None:
        with st.expander("Attribution patching as a first sieve", icon=":material/filter_alt:"):
            charts.show_drawing(sieve)
    if (sink := sinks(lake, reader, "attention sinks")) is not None:
        charts.show_drawing(sink)
    _show_table(lake, reader, form, place)


def _methods(lake: Source, reader: Reader) -> list[str]:
    if reader.ablation_run is None:
        return []
    known = lake.select("select distinct method from ablations where run_id = $run", run=reader.ablation_run)["method"].to_list()
    return [method for method in METHODS if method in known]


def _effects(lake: Source, reader: Reader) -> list[str]:
    """What can be read of the ablations: the margin in runs that kept it."""
    kept = lake.select("select count(margin) > 0 as kept from ablations where run_id = $run", run=reader.ablation_run)["kept"].item()
    return [effect for effect in EFFECTS if kept or effect != "margin"]


def _show_table(lake: Source, reader: Reader, form: str, place: Place) -> None:
    """Every figure of every head, the studies side by side; a click on a column sorts by it."""
    rows = lake.select(
        """select e.layer, e.head, e.zero, e.zero_shrunken, e.zero_adjusted_p, e.mean, e.mean_adjusted_p, e.resample, e.dla_margin, e.dla_margin_adjusted_p,
          e.zero_margin, e.mean_margin, e.resample_margin, e.flips_zero, e.kl_zero,
          e.kl_mean, e.kl_resample, e.zero_logit, e.mean_logit, e.resample_logit, e.dla, e.bos_fraction, e.attention_entropy, e.n_zero_layer_top3,
          e.n_dla_margin_layer_top3, e.n_zero_top3, e.n_dla_margin_top3, o.delta_c1, o.trained_minus_base, e.n
        from head_effects as e
        left join (
          select layer, head, max(delta_c1) as delta_c1, max(trained_minus_base) as trained_minus_base
          from heads where checkpoint = $checkpoint group by layer, head
        ) as o using (layer, head)
        where e.attribution_run is not distinct from $attribution and e.ablation_run is not distinct from $ablation and e.stratum = $stratum
          and e.prompt_form = $form and coalesce(e.layer = $layer, true) and coalesce(e.head = $head, true)
        order by abs(e.zero) desc nulls last, abs(e.dla_margin) desc nulls last, e.layer, e.head""",
        checkpoint=reader.checkpoint,
        attribution=reader.attribution_run,
        ablation=reader.ablation_run,
        stratum=reader.stratum,
        form=form,
        layer=place.layer,
        head=place.head,
    )
    if rows.is_empty():
        st.info("Nothing was read of this head.", icon=":material/hub:")
        return
    n = count_range(rows["n"], reader.what)
    shown = with_values(rows.drop("n"))
    words = {
        "zero": ("zero", "Change of the target's log-probability when the head is set to zero, nats.", "%+.3f"),
        "zero_shrunken": ("zero, shrunken", "The same drawn towards the mean of all heads by what noise makes of the largest of many.", "%+.3f"),
        "zero_adjusted_p": ("p, zero", "Adjusted for all heads of the model: sign flips of questions, max-T.", "%.2g"),
        "mean_adjusted_p": ("p, mean", "The same of mean ablation.", "%.2g"),
        "dla_margin_adjusted_p": ("p, direct", "The same of direct attribution to the margin.", "%.2g"),
        "mean": ("mean", "The same when it is set to its mean over prompts.", "%+.3f"),
        "resample": ("resample", "The same when it is taken from another prompt.", "%+.3f"),
        "dla_margin": ("direct", "Direct contribution to the target's logit minus the runner-up's.", "%+.3f"),
        "zero_margin": ("zero, margin", "Change of the target's logit minus the likeliest other token's, zero ablation.", "%+.3f"),
        "mean_margin": ("mean, margin", "The same, mean ablation.", "%+.3f"),
        "resample_margin": ("resample, margin", "The same, resample ablation.", "%+.3f"),
        "zero_logit": ("zero, raw logit", "Change of the target's raw logit, zero ablation: shifts that all logits share count too.", "%+.3f"),
        "mean_logit": ("mean, raw logit", "The same, mean ablation.", "%+.3f"),
        "resample_logit": ("resample, raw logit", "The same, resample ablation.", "%+.3f"),
        "dla": ("direct, raw logit", "Direct contribution to the target's raw logit.", "%+.3f"),
        "kl_zero": ("KL zero", "KL divergence of the next-token distribution, nats, zero ablation.", "%.3f"),
        "kl_mean": ("KL mean", "The same, mean ablation.", "%.3f"),
        "kl_resample": ("KL resample", "The same, resample ablation.", "%.3f"),
        "flips_zero": ("flips", "Share of prompts at which zero ablation changes the top-1 token.", "percent"),
        "bos_fraction": ("first token", "Attention to the first token, from the place that is read.", "percent"),
        "attention_entropy": ("entropy", "Entropy of its attention row, nats.", "%.2f"),
        "n_zero_layer_top3": ("top 3, zero", "Prompts at which it is among the first three of its layer by zero ablation (log-probability).", "%d"),
        "n_dla_margin_layer_top3": ("top 3, direct", "The same by direct attribution (margin).", "%d"),
        "n_zero_top3": ("of all, zero", "Prompts at which it is among the first three of the model by zero ablation.", "%d"),
        "n_dla_margin_top3": ("of all, direct", "The same by direct attribution.", "%d"),
        "delta_c1": ("marker − C1", "Attention to the system prompt at the marker minus C1, marker study.", "%+.4f"),
        "trained_minus_base": ("trained − base", "The same, trained minus base.", "%+.4f"),
    }
    config: charts.Columns = {name: st.column_config.NumberColumn(label, help=help_words, format=kind) for name, (label, help_words, kind) in words.items()}
    st.markdown("**Every figure of every head**")
    st.dataframe(shown, hide_index=True, column_config=config, height=charts.table_height(shown, MOST_ROWS), placeholder="–")
    st.caption(
        f"Means over {n}; heads that lead by rank are judged by p and the shrunken figure; figures that the lake lacks are left out. "
        "A click on a column sorts. Views `head_effects` and `heads`."
    )
    _show_links(lake, reader, rows.row(0, named=True))


def _show_links(lake: Source, reader: Reader, head: dict) -> None:
    """The ways from the first head of the table to what other pages and sections know of it."""
    where = {"layer": str(head["layer"]), "head": str(head["head"])}
    name = f"layer {head['layer']}, head {head['head']}"
    with st.container(horizontal=True):
        if reader.patch_runs:
            address.link(f"Patching of {name}", "circuits", ":material/healing:", reader=reader.name, part="Patching", **where)
        if lake.select("select count(*) from heads where checkpoint = $of and delta_c1 is not null", of=reader.checkpoint).item():
            address.link(f"Attention of {name} at the marker", "marker_attention", ":material/center_focus_strong:", section="Heads", **where)
        if lake.select("select count(*) from rfc_pairs where $of in (base_checkpoint, instruct_checkpoint)", of=reader.checkpoint).item():
            address.link(f"Role focus of {name}", "role_focus", ":material/psychology:", checkpoint=reader.checkpoint, **where)
