"""Patching, section of the circuits page: what a donor's activations do at each layer and site, and in single heads."""

import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.bar import Place
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.circuit_readers import Reader
from personascope.warehouse.drawing.figures.patching_map import VALUES, patches
from personascope.warehouse.drawing.tables import with_values
from personascope.warehouse.drawing.words import count_range

LABELS = {
    "restored_pooled_log_prob": "Restored",
    "log_prob_change": "Log-probability",
    "kl_removed": "KL",
    "restored_pooled": "Restored, raw logit",
    "logit_change": "Raw logit",
}
MOST_ROWS = 12


def show_patching(lake: Source, reader: Reader, place: Place) -> None:
    """The map of one run of patches, and its table (of one layer or head where `place` says so)."""
    if not reader.patch_runs:
        st.info(f"Nothing was patched into {plain(reader.subject)}: `personascope extract patches --donor ID` does.", icon=":material/healing:")
        return
    runs = lake.select(
        """select distinct run_id, donor, direction from patches
        where list_contains(string_split($runs, ','), run_id) and stratum = $stratum order by donor, run_id""",
        runs=",".join(reader.patch_runs),
        stratum=reader.stratum,
    )
    if runs.is_empty():
        st.info(f"Nothing was patched into {plain(reader.subject)} at {plain(reader.stratum)}.", icon=":material/healing:")
        return
    labels = {row["run_id"]: f"{row['donor']} into {row['direction']}" for row in runs.rows(named=True)}
    left, right = st.columns(2)
    run = address.select("Patched", list(labels), "patches", labels=labels, where=left)
    meanings = "; ".join(f"{LABELS[name]}: {words}" for name, words in VALUES.items())
    value = address.segments("Measure", list(VALUES), "value", labels=LABELS, help=meanings, where=right)
    drawing = patches(lake, reader, run, value, "patching")
    if drawing is not None:
        charts.show_drawing(drawing)
    _show_table(lake, reader, run, place)


def _show_table(lake: Source, reader: Reader, run: str, place: Place) -> None:
    rows = lake.select(
        """select layer, site, head, restored_pooled_log_prob, log_prob_change, log_prob_change_shrunken, log_prob_change_adjusted_p,
          log_prob_change_low, log_prob_change_high, prob, base_prob, donor_prob, restored_pooled, restored, restored_low, restored_high,
          logit_change, logit_change_low, logit_change_high, kl_removed, kl, base_kl, n_restored, n, n_clusters
        from patch_effects where run_id = $run and stratum = $stratum and prompt_form = 'all'
          and coalesce(layer = $layer, true) and coalesce(head = $head, true)
        order by abs(log_prob_change) desc nulls last, layer, site, head""",
        run=run,
        stratum=reader.stratum,
        layer=place.layer,
        head=place.head,
    )
    counts = f"{count_range(rows['n'], reader.what)} of {count_range(rows['n_clusters'], 'question')}"
    shown = with_values(rows.drop("n", "n_clusters"))
    numbers = {
        "restored_pooled_log_prob": ("restored", "Mean change of the log-probability over the mean distance between donor and base."),
        "log_prob_change": ("nats", "Mean change of the target's log-probability."),
        "log_prob_change_shrunken": ("nats, shrunken", "That change drawn towards the mean of its site by what noise makes of the largest of many."),
        "log_prob_change_adjusted_p": ("p", "Adjusted for all layers and heads of the site: sign flips of questions, max-T."),
        "log_prob_change_low": ("low, nats", "95% t interval over questions of that change, this place alone."),
        "log_prob_change_high": ("high, nats", "95% t interval over questions of that change, this place alone."),
        "restored_pooled": ("restored, raw logit", "Mean change of the raw logit over the mean distance between donor and base."),
        "restored": ("mean of fractions", "Mean over examples of the restored fraction of the raw logit; one example with a distance near 0 can decide it."),
        "restored_low": ("low", "95% t interval over questions of the mean of fractions, this place alone."),
        "restored_high": ("high", "95% t interval over questions of the mean of fractions, this place alone."),
        "logit_change": ("raw logit", "Mean change of the target's raw logit: shifts that all logits share count too."),
        "logit_change_low": ("low, logit", "95% t interval over questions of the change of the raw logit, this place alone."),
        "logit_change_high": ("high, logit", "95% t interval over questions of the change of the raw logit, this place alone."),
        "prob": ("probability", "Mean probability of the target with the patch."),
        "base_prob": ("without", "The same without a patch."),
        "donor_prob": ("donor", "The same in the donor."),
        "kl_removed": ("KL removed", "Share of the KL divergence from the donor that the patch removes."),
        "kl": ("KL", "KL divergence from the donor with the patch, nats."),
        "base_kl": ("KL without", "The same without a patch."),
    }
    config: charts.Columns = {name: st.column_config.NumberColumn(words, help=help_words, format="%.3f") for name, (words, help_words) in numbers.items()}
    config["n_restored"] = st.column_config.NumberColumn("fractions", help="Examples whose donor and base differ in the logit.")
    st.dataframe(shown, hide_index=True, column_config=config, height=charts.table_height(shown, MOST_ROWS), placeholder="–")
    st.caption(f"Means over {counts}; intervals clustered by question, not adjusted for the number of places. View `patch_effects`.")
