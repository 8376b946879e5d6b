"""What instruction tuning did to attention on self-referent prompts: by layer, in families side by side, and in the heads worth patching."""

import polars as pl
import streamlit as st

from personascope.app_pages.role_focus.alone import readings_alone, show_alone
from personascope.app_pages.role_focus.head import link, show_head, take_old_address
from personascope.app_pages.role_focus.pair import known_pairs, show_pair
from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.bar import Place, bar
from personascope.app_pages.shared.choices import show_choices
from personascope.app_pages.shared.findings import show_findings
from personascope.app_pages.shared.lake import Source, source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.figures.role_focus_differences import MEASURES, differences
from personascope.warehouse.drawing.words import NOTHING_KNOWN, count, count_range, p_value, signed

TITLE, ICON, ORDER = "Role focus", ":material/psychology:", 50
SCATTER_HEIGHT, MOST_CANDIDATES = 380, 20
MEANINGS = {
    "rfc": "Role Focus Coefficient, 1 − H(self-referent) / H(neutral): how much sharper attention is when the prompt is about the model",
    "rsi": "Role Separation Index, (H(confounder) − H(self-referent)) / H(neutral): how much sharper than on first-person prompts that are not about the model",
}
ALIGNMENTS = {"layer index": "layer", "relative depth": "relative depth"}


def main() -> None:
    """Draws the page."""
    st.title("Role focus")
    st.markdown("Does attention draw together when a prompt is about the model itself, and did instruction tuning change that?")
    lake = source()
    take_old_address()
    place = choose_place(lake)
    origins = lake.select(
        """select origin, bool_or(basis = 'layers') as has_layers from (
          select origin, basis from rfc_summary union all select origin, 'heads' from patching_candidates
        ) group by origin order by has_layers desc, origin"""
    )
    alone = readings_alone(lake)
    if origins.is_empty() and not alone.is_empty():
        measure = address.segments("Measure", list(MEASURES), "measure", labels=MEASURES, help=". ".join(MEANINGS.values()))
        show_findings(lake, "role_focus")
        show_alone(lake, alone, measure)
        return
    if origins.is_empty():
        st.info(
            "No Role Focus Coefficients in this lake yet: `personascope run role-focus --quick` reads some on tiny checkpoints, and "
            "`personascope ingest published PATH` brings published ones.",
            icon=ICON,
        )
        return
    with st.container(border=True):
        left, middle, right = st.columns(3)
        origin = address.select("Origin", origins["origin"].to_list(), "origin", where=left)
        help_words = ". ".join(MEANINGS.values()) + ". H: attention entropy of a head in nats."
        measure = address.segments("Measure", list(MEASURES), "measure", labels=MEASURES, help=help_words, where=middle)
        alignment = address.segments(
            "Layers by",
            list(ALIGNMENTS),
            "layers",
            labels=ALIGNMENTS,
            help="Relative depth: layer 0 at 0, the last at 1, so that models of unequal depth lie over one another.",
            where=right,
        )
    drawn = lake.select("select distinct unnest([base_run, instruct_run]) as run_id from rfc_diff where origin = $origin", origin=origin)
    findings = st.container()
    show_differences(lake, origin, measure, alignment)
    st.subheader("Over all layers", divider="gray")
    show_summary(lake, origin)
    st.subheader("Two families", divider="gray")
    show_correlation(lake, origin, alignment)
    st.subheader("Heads worth patching", divider="gray")
    pairs = known_pairs(lake, place.checkpoint)
    candidates = show_candidates(lake, origin, pairs)
    if origin == "extracted":
        st.subheader("One pair of models", divider="gray")
        pair = show_pair(lake, pairs, place.layer)
        if pair is not None:
            with st.expander("Did tuning compress RFC? Under every choice"):
                show_choices(lake, "rfc", instruct_run=pair["instruct_run"], base_run=pair["base_run"])
            heads = lake.select("select layer, head from rfc_head where run_id = $run order by layer, head", run=pair["instruct_run"])
            show_head(lake, heads.rows(), pair, None)
    elif not candidates.is_empty():
        show_head(lake, candidates.select("layer", "head").unique(maintain_order=True).rows(), None, candidates["patching_family"][0])
    _show_rest(lake, alone, measure)
    with findings:
        show_findings(lake, "role_focus", set(drawn["run_id"].drop_nulls()))


def choose_place(lake: Source) -> Place:
    """The bar of the page: checkpoints that were read as base or instruct model, their layers and heads."""
    names = lake.select("select base_checkpoint as name from rfc_pairs union select instruct_checkpoint from rfc_pairs order by 1")["name"].to_list()
    heads = lake.select("select distinct layer, head from rfc_head union select distinct layer, head from patching_candidates")
    return bar(
        checkpoints=names,
        layers=heads["layer"].drop_nulls().unique().to_list(),
        heads=heads["head"].drop_nulls().unique().to_list(),
        silent="Prompts about the model itself stand in the place of personas here.",
    )


def _show_rest(lake: Source, alone: pl.DataFrame, measure: str) -> None:
    if not alone.is_empty():
        st.subheader("Readings without a partner", divider="gray")
        show_alone(lake, alone, measure)


def show_differences(lake: Source, origin: str, measure: str, alignment: str) -> None:
    """Instruct minus base by layer, one line a family, with intervals; full points are layers whose interval leaves out 0."""
    drawing = differences(lake, origin, measure, alignment == "relative depth", f"{measure} differences")
    if drawing is None:
        st.info("No differences by layer are in this lake, summaries only.", icon=":material/show_chart:")
        return
    charts.show_drawing(drawing)
    st.caption(f"{MEANINGS[measure]}.")


def show_summary(lake: Source, origin: str) -> None:
    """Each family in a row: the tests first, then the published counts, and how much of the mean is one layer's."""
    rows = lake.select(
        """select family, mean, max_layer_share, largest_layer, mean_without_largest_layer, n_layers, n_excludes_zero, n_fdr, n_below, n_above, n_near_zero,
          n_heads, n_heads_model, basis, std, min, max
        from rfc_summary where origin = $origin order by basis, family, instruct_run""",
        origin=origin,
    )
    if rows.is_empty():
        st.info("No differences over layers are in this lake.", icon=":material/functions:")
        return
    config: charts.Columns = {
        name: st.column_config.NumberColumn(words, format="%+.4f")
        for name, words in {"mean": "mean", "mean_without_largest_layer": "mean without", "min": "min", "max": "max"}.items()
    }
    config |= {
        "max_layer_share": st.column_config.NumberColumn(
            "largest's share", format="percent", help="Share of the largest layer in the sum over layers; about 100% or more: the mean is that layer's."
        ),
        "largest_layer": "largest at",
        "n_layers": "layers",
        "n_excludes_zero": st.column_config.NumberColumn(
            "CI without 0", help="Layers whose 95% interval leaves out 0; heads as independent, no correction over layers."
        ),
        "n_fdr": st.column_config.NumberColumn("FDR < 0.05", help="Layers whose Welch p over heads, adjusted over layers (Benjamini-Hochberg), is below 0.05."),
        "n_below": st.column_config.NumberColumn("below −0.01", help="Layers; the published count, which is no test."),
        "n_above": "above +0.01",
        "n_near_zero": "within ± 0.01",
        "std": st.column_config.NumberColumn("sd over layers", format="%.4f"),
        "n_heads": "heads",
        "n_heads_model": st.column_config.NumberColumn("of", help="Heads the model has per layer; more than were read means that heads were left out."),
        "basis": st.column_config.TextColumn("from", help="layers: computed from the layers in this lake; printed: as a published summary states it."),
    }
    st.dataframe(rows, hide_index=True, column_config=config, height=charts.table_height(rows), placeholder="–")
    st.caption(
        "RFC, instruct minus base; –: its layers are not in this lake. Counts beyond ± 0.01 are the published ones, without a test; layers are not "
        "independent of one another."
    )


def show_correlation(lake: Source, origin: str, alignment: str) -> None:
    """The RFC differences of two families layer against layer, and how far their correlation hangs on one layer."""
    found = lake.select(
        """select *, case when count(*) over (partition by family_a, family_b) = 1 then family_a || ' and ' || family_b
            else family_a || ' and ' || family_b || ' · ' || instruct_run_a || ' · ' || instruct_run_b end as pair
        from rfc_correlation where origin = $origin and alignment = $alignment order by basis, pair""",
        origin=origin,
        alignment=alignment,
    )
    if found.is_empty():
        st.info("A correlation takes two families with the same origin; this lake holds fewer.", icon=":material/scatter_plot:")
        return
    pairs = found["pair"].to_list()
    row = found.row(pairs.index(address.select("Families", pairs, "families")), named=True)
    if row["basis"] == "printed":
        st.info(
            f"Only what a summary printed is in this lake: r = {signed(row['pearson_r'], 3)}, {p_value(row['pearson_p'])} over {count(row['n'], 'layer')}; "
            "the layers themselves are not.",
            icon=":material/scatter_plot:",
        )
        return
    rows = lake.select(
        """select point as layer, depth, rfc_diff_a, rfc_diff_b from rfc_profile_pairs
        where base_run_a = $base_a and instruct_run_a = $instruct_a and base_run_b = $base_b and instruct_run_b = $instruct_b
          and family_a = $family_a and family_b = $family_b and alignment = $alignment
        order by point""",
        base_a=row["base_run_a"],
        instruct_a=row["instruct_run_a"],
        base_b=row["base_run_b"],
        instruct_b=row["instruct_run_b"],
        family_a=row["family_a"],
        family_b=row["family_b"],
        alignment=alignment,
    )
    left, right = st.columns([3, 2], gap="medium")
    with left:
        titles = (f"{row['family_a']}: RFC, instruct minus base", f"{row['family_b']}: RFC, instruct minus base")
        unequal = "" if row["n_layers_a"] == row["n_layers_b"] else f"; {row['n_layers_a']} and {row['n_layers_b']} layers, numbers of the shallower family"
        facts = [
            f"{count(row['n'], 'layer')}, numbered, aligned by {alignment}{unequal}",
            f"Pearson r = {signed(row['pearson_r'], 3)}; no random draw, so no seed",
        ]
        figure = charts.scatter(rows, "rfc_diff_a", "rfc_diff_b", titles, words="layer")
        charts.show(figure, "families", f"{row['family_a']} against {row['family_b']}, layer by layer", facts, SCATTER_HEIGHT)
    sure = lake.select(
        """select corrected, corrected_low, corrected_high, corrected_missing, reliability_a, reliability_b from rfc_correlation_certainty
        where instruct_run_a = $instruct_a and instruct_run_b = $instruct_b and base_run_a = $base_a and base_run_b = $base_b and alignment = $alignment""",
        base_a=row["base_run_a"],
        instruct_a=row["instruct_run_a"],
        base_b=row["base_run_b"],
        instruct_b=row["instruct_run_b"],
        alignment=alignment,
    )
    with right.container(border=True):
        if not sure.is_empty():
            st.markdown(_corrected(sure.row(0, named=True)))
        st.markdown(_correlation(row))


def _corrected(sure: dict) -> str:
    """The correlation that noise in both profiles hides, in words; nothing but that where it hides too much."""
    reliable = f"Of the variance over layers {sure['reliability_a']:.0%} and {sure['reliability_b']:.0%} is no error of the prompts"
    if sure["corrected_missing"] is not None:
        return f"**Too noisy to tell.** {reliable}."
    return (
        f"Corrected for noise **r = {signed(sure['corrected'], 3)}**, 95% interval **{signed(sure['corrected_low'], 3)}** to "
        f"**{signed(sure['corrected_high'], 3)}**, prompts drawn again, the same for both families. {reliable}."
    )


def _correlation(row: dict) -> str:
    """The correlation in words, what layers that hang together leave of it before what is published."""
    layers = f"{row['n_effective']:.1f} independent layers" if row["n_effective"] is not None else "an unknown number of independent layers"
    return (
        f"**{plain(row['family_a'])} and {plain(row['family_b'])}**, {count(row['n'], 'layer')}\n\n"
        f"As it stands, with the noise in it: Pearson r = {signed(row['pearson_r'], 3)}\n"
        f"- without a trend they share, changes from layer to layer: r = {signed(row['changes_r'], 3)}, {p_value(row['changes_p'])}\n"
        f"- neighbouring layers hang together: worth {layers}, {p_value(row['pearson_p_effective'])}\n"
        f"- without any one layer: r {signed(row['loo_r_min'], 3)} to {signed(row['loo_r_max'], 3)}, p up to {_plain_p(row['loo_p_max'])} "
        f"(layer {row['loo_p_max_point']} left out)\n\n"
        f"As published, layers as independent\n"
        f"- {p_value(row['pearson_p'])}; Fisher's 95% interval {signed(row['pearson_low'], 3)} to {signed(row['pearson_high'], 3)}\n"
        f"- Spearman {signed(row['spearman_r'], 3)}, {p_value(row['spearman_p'])}"
    )


def _plain_p(p: float | None) -> str:
    return p_value(p).removeprefix("p").lstrip("\N{NO-BREAK SPACE}= ") if p is not None else NOTHING_KNOWN


def show_candidates(lake: Source, origin: str, pairs: pl.DataFrame) -> pl.DataFrame:
    """The heads whose entropy instruction tuning changed more on self-referent than on neutral prompts, best composite first; gives what it shows."""
    named = "coalesce(family || ' · ' || instruct_checkpoint, family)"
    known = f"select distinct {named} as family from patching_candidates where origin = $origin order by 1"
    families = lake.select(known, origin=origin)["family"].to_list()
    if not families:
        st.info("No candidates for patching are in this lake.", icon=":material/build:")
        return pl.DataFrame()
    family = address.select("Family", families, "family") if len(families) > 1 else families[0]
    rows = lake.select(
        f"""select rank_by_composite as place, layer, head, composite, did, did_log_ratio, consistency, n_pairs, sign_p_bonferroni, sign_p, self_diff,
          neutral_diff, direction_conflict, self_base, did_iqr, n_heads_searched, flip_p_max_t, bootstrap_t_p_max_t, flip_p_fdr, run_id, base_run,
          family as patching_family
        from patching_candidates
        where origin = $origin and {named} = $family and rank_by_composite <= {MOST_CANDIDATES} order by rank_by_composite, run_id""",
        origin=origin,
        family=family,
    )
    config: charts.Columns = {
        "place": st.column_config.NumberColumn("#", width=40),
        "row": st.column_config.LinkColumn("all of it", display_text="heads", width=70, help="Its row in the view `heads`, and its entropy on every prompt."),
        "layer": st.column_config.NumberColumn("layer", width=60),
        "head": st.column_config.NumberColumn("head", width=60),
        "composite": st.column_config.NumberColumn("composite", format="%.2f", help="Sum of three z scores: magnitude, consistency, low base entropy."),
        "did": st.column_config.NumberColumn("DiD, nats", format="%+.4f", help="Median over pairs: change on self-referent minus change on neutral prompts."),
        "did_log_ratio": st.column_config.NumberColumn("DiD of log ratios", format="%+.3f", help="The study prints it as Log-Ratio."),
        "consistency": st.column_config.NumberColumn("same sign", format="percent"),
        "n_pairs": "pairs",
        "sign_p_bonferroni": st.column_config.NumberColumn("sign test × heads", format="%.2g", help="Exact p times the heads searched (Bonferroni)."),
        "flip_p_max_t": st.column_config.NumberColumn(
            "sign flips, max-T", format="%.2g", help="Mean DiD, adjusted for all heads; null: exchangeable in pairs."
        ),
        "bootstrap_t_p_max_t": st.column_config.NumberColumn("bootstrap-t, max-T", format="%.2g", help="The same without asking for symmetric differences."),
        "flip_p_fdr": st.column_config.NumberColumn("sign flips, FDR", format="%.2g", help="The same, Benjamini-Hochberg over all heads."),
        "sign_p": st.column_config.NumberColumn("sign test", format="%.2g"),
        "self_diff": st.column_config.NumberColumn("change, self", format="%+.4f"),
        "neutral_diff": st.column_config.NumberColumn("change, neutral", format="%+.4f"),
        "direction_conflict": st.column_config.CheckboxColumn("signs differ", help="DiD and the change on self-referent prompts point in opposite directions."),
        "self_base": st.column_config.NumberColumn("base entropy", format="%.4f"),
        "did_iqr": st.column_config.NumberColumn("IQR of DiD", format="%.4f"),
        "n_heads_searched": "heads searched",
        "run_id": "run",
    }
    labels = {(pair["base_run"], pair["instruct_run"]): pair["label"] for pair in pairs.iter_rows(named=True)}
    links = []
    for row in rows.iter_rows(named=True):
        label = labels.get((row["base_run"], row["run_id"]))
        links.append(link(row["layer"], row["head"], **({"models": label} if label else {})))
    shown = rows.drop("base_run", "patching_family").insert_column(3, pl.Series("row", links, dtype=pl.String))
    st.dataframe(shown, hide_index=True, column_config=config, height=charts.table_height(shown, MOST_CANDIDATES), placeholder="not known")
    st.caption(
        f"{plain(family)}: {count_range(rows['n_pairs'], 'prompt pair')} a head, paired by "
        f"{'their place in the two lists' if origin == 'published' else 'question_id; sign flips drawn with seed 42'}; "
        f"{count(rows.height, 'head')} with the largest composite. The link of a row shows what else is known of the head."
    )
    return rows
