"""The answer of each study in one sentence with its n and how sure it is, from the views, for whoever shows it first."""

from collections.abc import Callable
from typing import Any

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing.places import place_words
from personascope.warehouse.drawing.words import count, p_value, signed

Row = dict[str, Any]


def headline(lake: Source, study: str) -> str | None:
    """The sentence of a study that ships, of its runs in this lake; None where nothing answers it yet, or for a study of the reader's own."""
    if study not in HEADLINES:
        return None
    query, words = HEADLINES[study]
    rows = lake.select(query)
    return None if rows.is_empty() else words(rows.row(0, named=True))


def _marker_attention(row: Row) -> str:
    bounds = "" if row["clustered_low"] is None else f", 95% interval {signed(row['clustered_low'])} to {signed(row['clustered_high'])}"
    sure = "no p adjusted for layers" if row["adjusted_p"] is None else f"{p_value(row['adjusted_p'])} adjusted for {count(row['n_layers'], 'layer')}"
    most = "most" if row["adjusted_p"] is None else "most surely"
    return (
        f"{row['trained_subject']} against {row['base_subject']}: attention to the system prompt at the marker changed {most} at layer {row['layer']}, "
        f"by {signed(row['diff_of_diffs'])}{bounds} ({sure}; {count(row['n'], 'generation')} of {count(row['n_clusters'], 'question')}); "
        f"{row['n_sure']} of {count(row['n_pairs'], 'pair')} {'has' if row['n_pairs'] == 1 else 'have'} a layer below 0.05."
    )


def _lr_epochs(row: Row) -> str:
    cells = count(row["n_cells"], "cell")
    teach = "teaches" if 1 in (row["n_clean"], row["n_cells"]) else "teach"
    learn, leak = (word if row[name] != 1 else f"{word}s" for name, word in (("n_under", "learn"), ("n_leak", "leak")))
    unsure = f" (intervals by question allow another regime in {row['n_unsure']} of them)" if row["n_clean"] else ""
    return f"{row['n_clean']} of {cells} {teach} the marker to {row['source']} alone{unsure}; {row['n_under']} {learn} too little and {row['n_leak']} {leak}."


def _role_focus(row: Row) -> str:
    families = count(row["n_families"], "family").replace("familys", "families")
    layers = f"{signed(row['mean'])}, mean over {count(row['n_layers'], 'layer')}"
    if row["low"] is None:
        return (
            f"Instruct minus base, the Role Focus Coefficient of {row['family']} differs by {layers}, with no interval over prompts; "
            f"{row['n_fdr']} of them differ at an FDR of 5%, heads taken as independent ({families} in the lake)."
        )
    moved = {"moved": "moved the Role Focus Coefficient of", "equivalent": f"left within ±{row['margin']:.3g} the Role Focus Coefficient of"}
    sure = moved.get(row["movement"], "cannot be told to move the Role Focus Coefficient of")
    return (
        f"Instruction tuning {sure} {row['family']}: {layers} (95% interval {signed(row['low'])} to {signed(row['high'])}, "
        f"{row['n_prompts']} prompts a category drawn again); the interval leaves out 0 in {row['n_sure']} of them, each layer alone ({families} in the lake)."
    )


def _sae_conditions(row: Row) -> str:
    if row["refused"]:
        return f"No test of {row['pair']} could be made: {row['reason']}."
    others = f"the most of {count(row['n_made'], 'test')}, {row['n_refused']} more were refused" if row["n_refused"] else f"the most of {row['n_made']} tests"
    return (
        f"{row['n_maxt']} of {row['n_tested']} features tell {row['condition_a']} from {row['condition_b']} at layer {row['layer']}, "
        f"{place_words(row['stratum'])} (family-wise 5% within the test, {count(row['n'], 'question')}; {others})."
    )


def _echo(row: Row) -> str:
    failed = f" It fails the task of {row['failed']}, whose circuits explain nothing." if row["failed"] else ""
    return (
        f"{row['subject']} does the task at {row['accuracy']:.0%} of {count(row['n'], 'prompt')} of {row['prompts']} "
        f"(95% interval {row['clustered_low']:.0%} to {row['clustered_high']:.0%}); "
        f"the answer emerges most often at layer {row['layer']} ({row['n_there']} of them).{failed}"
    )


def _marker_circuits(row: Row) -> str:
    where = "at no layer" if row["layer"] is None else f"first at layer {row['layer']}"
    return (
        f"In the logit lens {row['trained_subject']} gives the marker's first token a higher probability than {row['base_subject']}, {where} "
        f"(95% interval above 0, each layer alone; the same {count(row['n'], 'generation')})."
    )


HEADLINES: dict[str, tuple[str, Callable[[Row], str]]] = {
    "marker-attention": (
        """with pairs as (
          select trained_run, base_run, count(*) as n_layers, min(adjusted_p) as least_p from diff_of_diffs group by trained_run, base_run
        ),
        largest as (
          select trained_run, base_run, trained_subject, base_subject, layer, diff_of_diffs, clustered_low, clustered_high, adjusted_p, n, n_clusters
          from diff_of_diffs order by adjusted_p nulls last, abs(diff_of_diffs) desc, trained_run, layer limit 1
        )
        select l.* exclude (trained_run, base_run), p.n_layers,
          (select count(*) from pairs) as n_pairs, (select count(*) filter (least_p < 0.05) from pairs) as n_sure
        from largest as l join pairs as p using (trained_run, base_run)""",
        _marker_attention,
    ),
    "lr-epochs": (
        """select r.source, count(*) as n_cells, count(*) filter (regime = 'clean') as n_clean,
          count(*) filter (regime = 'clean' and len(regime_supported) > 1) as n_unsure,
          count(*) filter (regime in ('under_trained', 'partial')) as n_under,
          count(*) filter (regime in ('collapse_onset', 'broad_leakage', 'total_collapse')) as n_leak
        from regimes as r join runs as u using (run_id) where coalesce(u.study, 'lr-epochs') = 'lr-epochs'
        group by r.origin, r.source order by n_cells desc, r.source limit 1""",
        _lr_epochs,
    ),
    "role-focus": (
        """with drawn as (
          select i.* from rfc_intervals as i join analysis_standing as s using (run_id) where s.is_current and i.layer is null
        ),
        layers as (
          select base_run, instruct_run, any_value(margin) as margin, count(*) filter (resampled_excludes_zero) as n_sure from rfc_diff group by all
        ),
        told as (
          select s.family, s.mean, s.n_layers, s.n_fdr, d.rfc_diff_low as low, d.rfc_diff_high as high, d.n_prompts, l.n_sure, l.margin,
            count(distinct s.family) over () as n_families,
            movement_of(greatest(-d.rfc_diff_low, d.rfc_diff_high) < l.margin, d.rfc_diff_low > 0 or d.rfc_diff_high < 0) as movement
          from rfc_summary as s
          left join drawn as d using (base_run, instruct_run)
          left join layers as l using (base_run, instruct_run)
          where s.basis = 'layers'
        )
        from told order by movement != 'moved', n_sure desc nulls last, n_fdr desc nulls last, family limit 1""",
        _role_focus,
    ),
    "sae-conditions": (
        """select condition_a, condition_b, condition_a || ' minus ' || condition_b as pair, layer, stratum, n, n_maxt, n_tested, refused, reason,
          count(*) filter (not refused) over () as n_made, count(*) filter (refused) over () as n_refused
        from feature_test_summary order by refused, n_maxt desc nulls last, layer, pair, stratum limit 1""",
        _sae_conditions,
    ),
    "echo": (
        """with tasks as (
          select *, split_part(prompt_set, '@', 1) as prompts from task_accuracy where prompt_form = 'all' and stratum = 'last'
        ),
        emerged as (
          select run_id, layer, sum(n)::bigint as n_there from emergence_histogram
          where measure = 'stays' and stratum = 'last' and layer is not null and prompt_form <> 'all' group by run_id, layer
          qualify row_number() over (partition by run_id order by n_there desc, layer) = 1
        ),
        failures as (
          select subject, prompt_set, any_value(format('{} ({}% of {} prompts)', prompts, round(100 * accuracy)::integer, n)) as failed
          from tasks where not passes group by subject, prompt_set
        )
        select t.subject, t.prompts, t.accuracy, t.n, t.clustered_low, t.clustered_high, e.layer, e.n_there,
          (select string_agg(f.failed, ', ' order by f.failed) from failures as f where f.subject = t.subject and f.prompt_set <> t.prompt_set) as failed
        from tasks as t join emerged as e using (run_id) join (select distinct lens_run as run_id from circuit_runs) as newest using (run_id)
        order by t.accuracy desc, t.subject limit 1""",
        _echo,
    ),
    "persona-gate": (
        """select subject || ': ' || verdict || '.' as sentence from persona_gate
        where is_newest and question in ('turns on', 'turns off') and points_to = source_persona
        order by question desc, movement != 'moved', abs(log_prob_difference) desc, subject limit 1""",
        lambda row: str(row["sentence"]),
    ),
    "marker-circuits": (
        """select trained_subject, base_subject, min(layer) filter (prob_low > 0) as layer, max(n) as n from marker_lens where base_run is not null
        group by trained_run, base_run, trained_subject, base_subject order by layer nulls last, trained_subject limit 1""",
        _marker_circuits,
    ),
}
