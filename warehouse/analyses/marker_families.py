"""Attention at the marker against each control: layers are picked, so each p is adjusted for all of them; ends of answers (C4) as two samples."""

from collections.abc import Iterable, Sequence

import duckdb
import polars as pl

from personascope.warehouse.analyses.base import Analysis, Group, Rows
from personascope.warehouse.analyses.bootstrap_t import two_sample_bootstrap_t
from personascope.warehouse.analyses.families import RESAMPLES, SEED, SETTINGS, family_rows
from personascope.warehouse.analyses.resampling import number
from personascope.warehouse.analyses.trained_pairs import inputs
from personascope.warehouse.store.manifest import Manifest

_GROUPS = """
select s.run_id, any_value(g.tokens_run) as tokens_run
from (select distinct run_id from subjects) as s
left join published_rows as g using (run_id)
group by s.run_id
order by s.run_id
"""
_PAIRED = """
select run_id as first_run, subject, control as stratum, layer, null::integer as head, question_id, count(*) as n, sum(delta) as total
from attention_delta
where run_id = $run and delta is not null
group by all
order by all
"""
_ENDS = """
select subject, layer, question_id, n_markers, marker_total, n_ends, end_total
from end_of_answer_questions
where run_id = $run
order by subject, layer, question_id
"""
_METHOD = "max-T over the family, bootstrap-t of questions in two samples"


def _groups(connection: duckdb.DuckDBPyConnection, runs: Sequence[Manifest]) -> Iterable[Group]:
    """Every readout; a published one with the file of generations that names its questions."""
    by_id = {run.run_id: run for run in runs}
    for names in connection.sql(_GROUPS).fetchall():
        if names[0] in by_id:
            yield tuple(by_id[name] for name in dict.fromkeys(names) if name in by_id)


def _compute(connection: duckdb.DuckDBPyConnection, readout: Manifest, *_: Manifest) -> Rows:
    """Rows of `family_tests` of one readout, by control."""
    parameters = {"run": readout.run_id}
    paired = family_rows("attention_effects", connection.sql(_PAIRED, params=parameters).pl(), ("first_run", "subject", "stratum"))
    ends = connection.sql(_ENDS, params=parameters).pl()
    return [*paired, *(row for (subject,), part in ends.group_by("subject", maintain_order=True) for row in _against_ends(readout.run_id, str(subject), part))]


def _against_ends(run: str, subject: str, part: pl.DataFrame) -> Rows:
    """The layers of one subject; none where a question is unknown, or where layers lack one."""
    layers = part["layer"].unique(maintain_order=True).sort().to_list()
    if part["question_id"].null_count() or part.height != len(layers) * part["question_id"].n_unique():
        return []
    columns = {name: part.sort("question_id", "layer")[name].to_numpy().reshape(-1, len(layers)).astype(float) for name in part.columns[3:]}
    if min((columns["n_markers"][:, 0] > 0).sum(), (columns["n_ends"][:, 0] > 0).sum()) < 2:
        return []
    sizes = [columns[name][:, 0] for name in ("n_markers", "n_ends")]
    test = two_sample_bootstrap_t(columns["marker_total"], sizes[0], columns["end_total"], sizes[1], RESAMPLES, SEED)
    counts = {"n": int(sizes[0].sum()), "n_clusters": int(min((size > 0).sum() for size in sizes)), "n_members": len(layers)}
    shared = {"figure": "end_of_answer_contrast", "first_run": run, "subject": subject, "stratum": "C4", **counts}
    shared |= {"method": _METHOD, "resamples": test.resamples, "seed": SEED}
    return [
        shared | {"layer": layer, "adjusted_p": number(adjusted), "bootstrap_t_p": number(p), "bootstrap_t_adjusted_p": number(adjusted)}
        for layer, p, adjusted in zip(layers, test.p, test.adjusted_p, strict=True)
    ]


ANALYSIS = Analysis(
    name="marker-families",
    version=1,
    table="family_tests",
    settings=SETTINGS,
    inputs=inputs,
    groups=_groups,
    rows=_compute,
    seed=SEED,
)
