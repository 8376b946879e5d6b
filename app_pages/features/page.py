"""SAE features under system-prompt conditions: how alike the conditions are, which features differ, on which prompts they fire, where differences point."""

from functools import partial

import polars as pl
import streamlit as st

from personascope.app_pages.features.feature import PLACE, at, place_fact, show_feature
from personascope.app_pages.features.published import show_published
from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.bar import asked, bar
from personascope.app_pages.shared.choices import show_choices
from personascope.app_pages.shared.findings import show_findings
from personascope.app_pages.shared.lake import Source, source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.figures.condition_similarity import interval_words
from personascope.warehouse.drawing.maps import matrix
from personascope.warehouse.drawing.places import in_words, place_or_unknown
from personascope.warehouse.drawing.words import count, count_range, known, p_value

TITLE, ICON, ORDER = "Features", ":material/hub:", 60
CELL, WIDTH, ROW, HEIGHT = 64, 720, 26, 380
MOST_FEATURES = 200


def main() -> None:
    """Draws the page."""
    st.title("Features")
    st.markdown("Which features of a sparse autoencoder tell system prompts apart, and is that more than chance?")
    lake = source()
    tested = lake.select(
        """with places as (
          select t.features_run, t.run_id as tests_run, f.checkpoint, t.sae_id, t.layer, t.site, t.stratum, s.inference, t.condition_a, t.condition_b,
            t.condition_a || ' minus ' || t.condition_b as pair,
            concat_ws(' · ', f.checkpoint, s.inference || coalesce(' k ' || s.k, '')) as name,
            t.condition_a || t.condition_b like '%default%' and t.condition_a || t.condition_b like '%empty%' as comes_first
          from feature_test_summary as t
          join runs as f on f.run_id = t.features_run
          join sae as s on s.run_id = t.features_run and s.sae_id = t.sae_id
        )
        select *, name || case when count(distinct features_run) over (partition by name) > 1 then ' · ' || features_run else '' end as reader
        from places order by reader, layer, stratum, comes_first desc, pair"""
    )
    chosen = bar(
        checkpoints=tested["checkpoint"].drop_nulls().unique().sort().to_list(),
        layers=tested.filter(_of(tested, "checkpoint", asked("checkpoint")))["layer"].unique().to_list(),
        silent="Conditions of the system prompt stand in the place of personas here." if tested.height else None,
    )
    if tested.is_empty():
        show_findings(lake, "features")
        if lake.select("select run_id from runs where extractor = 'features' limit 1").height:
            st.info("Features were read in this lake and not compared yet: `personascope analyse feature-tests` compares conditions, or personas.", icon=ICON)
        else:
            st.info(
                "No features have been compared in this lake: `personascope run sae-conditions --quick` trains autoencoders on a tiny checkpoint and reads "
                "four conditions.",
                icon=ICON,
            )
        show_published(lake)
        return
    tested = tested.filter(_of(tested, "checkpoint", chosen.checkpoint))
    with st.container(border=True):
        left, middle, right = st.columns([3, 3, 4])
        reader = address.select("Autoencoders", tested["reader"].unique(maintain_order=True).to_list(), "autoencoder", where=left)
        tested = tested.filter(reader=reader)
        pair = address.select(
            "Conditions", tested.sort("comes_first", descending=True)["pair"].unique(maintain_order=True).to_list(), "conditions", where=middle
        )
        tested = tested.filter(pair=pair)
        strata = {name: place_or_unknown(name) for name in tested["stratum"].unique(maintain_order=True)}
        stratum = address.segments("Token", list(strata), "stratum", labels=strata, where=right)
        places = tested.filter(_of(tested, "layer", chosen.layer), stratum=stratum)
        if places.is_empty():
            st.info(f"Layer {chosen.layer} was not read at this token: {', '.join(map(str, tested['layer'].unique().sort()))} were.", icon=ICON)
            return
        of_layer = places.filter(layer=places["layer"][0])
        several = {row["sae_id"]: f"{row['sae_id']} · {row['site']}" for row in of_layer.iter_rows(named=True)}
        if len(several) > 1:
            of_layer = of_layer.filter(sae_id=address.select(f"Autoencoder of layer {places['layer'][0]}", list(several), "sae", labels=several, where=left))
    place = of_layer.row(0, named=True)
    show_answer(lake, tested, place)
    findings = st.container()
    if chosen.layer is None and places["layer"].n_unique() > 1:
        st.markdown(f"Below: layer {place['layer']}; the bar chooses another.")
    of_pair = show_tests(lake, place)
    show_projections(lake, place, of_pair)
    show_similarity(lake, place)
    with st.expander("Do features differ? Under every choice of rule, level, layer and token"):
        of = {"run_id": place["tests_run"], "sae_id": place["sae_id"], "condition_a": place["condition_a"], "condition_b": place["condition_b"]}
        show_choices(lake, "features", **of)
    show_published(lake)
    with findings:
        show_findings(lake, "features", {place["features_run"], place["tests_run"]})


def _of(rows: pl.DataFrame, column: str, value: object) -> pl.Series:
    """Which rows the bar leaves: those of its value, or all where it names none that there is."""
    found = rows[column].cast(pl.String) == str(value)
    return found if value is not None and found.any() else pl.Series([True] * rows.height, dtype=pl.Boolean)


def show_answer(lake: Source, tested: pl.DataFrame, place: dict) -> None:
    """How many features tell the pair apart, layers and tokens side by side."""
    rows = lake.select(
        """select layer, site, sae_id, stratum, n_maxt, n_bh, n_published, n_tested, n_silent, refused, reason from feature_test_summary
        where features_run = $run and condition_a = $a and condition_b = $b order by layer, site, sae_id, stratum""",
        run=place["features_run"],
        a=place["condition_a"],
        b=place["condition_b"],
    )
    told = rows.filter(~pl.col("refused"), stratum=place["stratum"])
    several = rows.select("layer", "site", "sae_id").unique().height > rows["layer"].n_unique()
    of_which = "layer {layer} (autoencoder {sae_id}, {site})" if several else "layer {layer}"
    words = "; ".join(f"**{row['n_maxt']} of {row['n_tested']}** at {plain(of_which.format(**row))}" for row in told.iter_rows(named=True))
    rows = rows if several else rows.drop("site", "sae_id")
    where = f"at the token “{place_or_unknown(place['stratum'])}”, family-wise 5% (sign flips, max-T)"
    st.markdown(f"{plain(place['pair'])}: {words} differ {where}." if words else f"{plain(place['pair'])}: no test could be made {where}.")
    config: charts.Columns = {
        "sae_id": "autoencoder",
        "stratum": "token",
        "n_maxt": st.column_config.NumberColumn("differ, family-wise", help="At 5%, sign flips of questions, max-T over features."),
        "n_bh": st.column_config.NumberColumn("differ, FDR", help="At 5%, Benjamini-Hochberg over features."),
        "n_published": st.column_config.NumberColumn("by the published rule", help="Unpaired."),
        "n_tested": "tested",
        "n_silent": st.column_config.NumberColumn("silent", help="Features that fire under neither condition."),
        "refused": st.column_config.CheckboxColumn("no test"),
        "reason": "why",
    }
    st.dataframe(in_words(rows), hide_index=True, column_config=config, height=charts.table_height(rows), placeholder="–")


def show_similarity(lake: Source, place: dict) -> None:
    """Cosines between conditions, of mean features and of raw activations, and who is the outlier here."""
    st.subheader("How alike the conditions are", divider="gray")
    for basis, words in (("features", "mean features"), ("activations", "mean activations")):
        rows = lake.select(
            """select condition_a, condition_b, cosine, corrected, low, high from condition_similarity
            where origin = 'extracted' and run_id = $run and layer = $layer and stratum = $stratum and basis = $basis
              and sae_id is not distinct from $sae order by condition_a, condition_b""",
            run=place["features_run"],
            basis=basis,
            **{name: value for name, value in at(place).items() if name != "site"},
        )
        if rows.is_empty():
            continue
        order = rows["condition_a"].unique(maintain_order=True).to_list()
        facts = [place["reader"], f"{len(order)} conditions; cosine of {words}; {interval_words(rows['low'])}"]
        title = f"Layer {place['layer']}, {place_or_unknown(place['stratum'])}: {words}"
        figure = matrix(rows, "condition_b", "condition_a", "cosine", ("", "", "cosine"), order)
        charts.show(figure, f"similarity {basis}", title, facts, CELL * len(order))
    outliers = lake.select(
        """select condition as series, layer, 1 - mean_similarity as mean, 1 - highest as low, 1 - lowest as high, rank, n_others,
          outlier_share
        from condition_outliers
        where origin = 'extracted' and basis = 'features' and run_id = $run and site = $site and stratum = $stratum and n_others > 0
        order by condition, layer""",
        run=place["features_run"],
        site=place["site"],
        stratum=place["stratum"],
    )
    if outliers.is_empty():
        return
    facts = [
        place["reader"],
        f"1 minus cosine of mean features with {count_range(outliers['n_others'], 'other condition')}: mean, band nearest to farthest; no draw, no seed",
        "the outlier of a layer is the highest line there; hover for how often it is when questions are drawn again (R = 1000, seed 42)",
    ]
    names = outliers["series"].unique(maintain_order=True).to_list()
    title = f"Who is the outlier, by layer: {place_or_unknown(place['stratum'])}"
    charts.show(charts.curves(outliers, "distance from the others", names), "outliers", title, facts, HEIGHT)


def show_tests(lake: Source, place: dict) -> dict:
    """Differences of one pair of conditions: the paired test first, the published rule beside it; a refused test says why. Gives the pair."""
    st.subheader(f"Features that differ, layer {place['layer']}", divider="gray")
    pairs = lake.select(
        f"select *, condition_a || ' minus ' || condition_b as pair from feature_test_summary where {PLACE} and condition_a = $a and condition_b = $b",
        run=place["tests_run"],
        a=place["condition_a"],
        b=place["condition_b"],
        **at(place),
    )
    pair = pairs.row(0, named=True)
    if pair["refused"]:
        st.warning(f"**No test**: {plain(pair['reason'])}. {'The differences themselves stand.' if pair['n_tested'] else ''}", icon=":material/block:")
    else:
        st.markdown(
            f"**{count(pair['n_maxt'], 'feature')}** of {pair['n_tested']} differ at a family-wise 5% (sign flips, max-T), {pair['n_bh']} at an FDR of 5%, "
            f"{pair['n_published']} by the published unpaired rule; {pair['n_silent']} silent ones were left out. "
            "Flips test that the conditions are exchangeable within a question."
        )
    rows = lake.select(
        f"""select feature, difference, paired_effect, maxt_p, -log10(maxt_p) as minus_log10_p, bh_p, p, effect as published_effect, significant, n, n_distinct,
          neuronpedia_url from feature_differences
        where {PLACE} and condition_a = $a and condition_b = $b order by maxt_p nulls last, abs(difference) desc limit {MOST_FEATURES}""",
        run=place["tests_run"],
        a=pair["condition_a"],
        b=pair["condition_b"],
        **at(place),
    )
    facts = [
        place_fact(place),
        f"{count_range(rows['n'], 'question')}, {count_range(rows['n_distinct'], 'distinct input pair')}; {pair['method']}; R = {pair['resamples']}, "
        f"seed {pair['seed']}",
        f"{count(rows.height, 'feature')} with the smallest p; a feature fires by the rule {place['inference']}",
    ]
    if not pair["refused"]:
        drawn = rows.drop("neuronpedia_url").drop_nulls("minus_log10_p")
        figure = charts.scatter(drawn, "difference", "minus_log10_p", ("mean paired difference", "-log10 p, family-wise"))
        charts.show(figure, "volcano", f"{pair['pair']}: size and certainty", facts, HEIGHT)
    config: charts.Columns = {
        "difference": st.column_config.NumberColumn(format="%+.4f"),
        "paired_effect": st.column_config.NumberColumn("paired effect", format="%+.2f"),
        "maxt_p": st.column_config.NumberColumn("p, max-T", format="%.3g"),
        "bh_p": st.column_config.NumberColumn("p, FDR", format="%.3g"),
        "p": st.column_config.NumberColumn("p alone", format="%.3g"),
        "published_effect": st.column_config.NumberColumn("published effect", format="%+.2f", help="Unpaired; over the root mean of both variances."),
        "significant": st.column_config.CheckboxColumn("by the published rule"),
        "n": "questions",
        "n_distinct": st.column_config.NumberColumn("distinct inputs", help="Distinct pairs of inputs among the questions."),
        "neuronpedia_url": st.column_config.LinkColumn("Neuronpedia", display_text="open"),
    }
    features = [str(each) for each in rows["feature"]]
    st.dataframe(
        rows.drop("minus_log10_p"),
        hide_index=True,
        column_config=config,
        height=charts.table_height(rows),
        placeholder="–",
        key="rows of features",
        on_select=partial(_open, features),
        selection_mode="single-row",
    )
    if features:
        show_feature(lake, place, features)
    return pair


def _open(features: list[str]) -> None:
    """Takes the feature of a clicked row for the chosen one."""
    for number in st.session_state["rows of features"]["selection"]["rows"]:
        st.session_state["feature"] = features[number]


def show_projections(lake: Source, place: dict, pair: dict) -> None:
    """The pair's difference along named decoder directions, each beside random ones; the whole list, of every pair, beside sets of random ones."""
    st.subheader("Where differences point", divider="gray")
    rows = lake.select(
        f"""select 'F' || feature || coalesce(' ' || description, '') as label, projection as mean, null_low as low, null_high as high, p, p_greater, p_less,
          null_mean, null_sd, n_random, n, n_distinct, refused
        from feature_projections where {PLACE} and condition_a = $a and condition_b = $b order by projection desc""",
        run=place["features_run"],
        a=pair["condition_a"],
        b=pair["condition_b"],
        **at(place),
    )
    if rows.is_empty():
        st.info("No named decoder directions were read at this layer: `--set directions=FILE.csv` of `extract features` names some.", icon=":material/explore:")
        return
    seed = lake.select("select seed from runs where run_id = $run", run=place["features_run"]).item()
    facts = [
        place_fact(place),
        f"point: projection of the mean difference; bar: 95% of {rows['n_random'][0]} random decoder directions of the autoencoder, "
        f"drawn with seed {known(seed)}",
        f"{count_range(rows['n'], 'question')}, {count_range(rows['n_distinct'], 'distinct input pair')}; "
        f"smallest {p_value(min(rows['p'].drop_nulls(), default=None))}",
    ]
    charts.show(charts.spans(rows, "projection", ""), "projections", f"{pair['pair']}: along named features", facts, ROW * rows.height)
    sets = lake.select(
        f"""select condition_a, condition_b, n_features, mean_abs_projection, n_negative, set_mean, set_sd, n_sets, set_p from feature_projection_summary
        where {PLACE} order by condition_a, condition_b""",
        run=place["features_run"],
        **at(place),
    )
    config: charts.Columns = {
        "condition_a": "condition",
        "condition_b": "minus",
        "n_features": "directions",
        "mean_abs_projection": st.column_config.NumberColumn("mean, without sign", format="%.4g"),
        "n_negative": "negative",
        "set_mean": st.column_config.NumberColumn("of random sets", format="%.4g"),
        "set_sd": st.column_config.NumberColumn("their sd", format="%.3g"),
        "n_sets": "random sets",
        "set_p": st.column_config.NumberColumn("p", format="%.3g", help="Share of random sets whose mean without sign is at least as large."),
    }
    st.dataframe(sets, hide_index=True, column_config=config, height=charts.table_height(sets), placeholder="–")
    st.caption("The whole list beside disjoint sets of as many random directions; p counts the sets whose mean projection without sign is at least as large.")
