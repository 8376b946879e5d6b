"""How often the audit warns where nothing is wrong: 200 synthetic studies of each kind whose effects are as large as their noise, or are none at all."""

import duckdb
import numpy as np
import polars as pl
import pytest

from personascope.warehouse.asking.audit import checks
from personascope.warehouse.asking.blank import copy_views
from personascope.warehouse.asking.catalogue import keep
from personascope.warehouse.asking.views import SHARED, closure
from personascope.warehouse.store.schema import tables

pytestmark = pytest.mark.slow(30)

STUDIES, LAYERS, QUESTIONS, REPEATS, HEADS = 200, 28, 20, 3, 28
MOST, ERROR = 0.05, (0.05 * 0.95 / STUDIES) ** 0.5  # share of clean studies with a warning, and its Monte Carlo error
# Checks that hold any two families against each other, 80,000 pairs here and one in a study, and one of printed figures, of which there are none.
OF_PAIRS = ("audit_correlation_over_layers", "audit_identical_profiles", "audit_printed_figures_differ")
PERSONAS = ["pirate", "poet", "clerk", "cook", "baker", "tailor"]
WORDS = np.array(
    [
        "amber",
        "basin",
        "cedar",
        "delta",
        "ember",
        "fjord",
        "grove",
        "haven",
        "islet",
        "jetty",
        "knoll",
        "ledge",
        "marsh",
        "north",
        "ocean",
        "plain",
        "quarry",
        "ridge",
        "shore",
        "trail",
    ]
)


def names(kind: str) -> list[str]:
    return [f"{kind}-{number:03d}" for number in range(STUDIES)]


def deltas(kind: str, effect: float, seed: int) -> dict[str, pl.DataFrame]:
    """Trained and base delta of every generation and layer: what training adds is `effect`, varies by 1, and neighbouring layers share it."""
    generator = np.random.default_rng(seed)
    steps = generator.normal(0, 1, (STUDIES, QUESTIONS, LAYERS))
    smooth = sum(np.roll(steps, shift, axis=2) for shift in range(-4, 5)) / 3  # layers move together
    shared = generator.normal(0, 1, steps.shape)
    study, row, layer = np.indices(steps.shape).reshape(3, -1)
    named = np.array(names(kind))[study]
    place = pl.DataFrame({"tokens_from": named, "row_ix": row, "layer": layer, "control": "C1"})
    frames = [
        place.with_columns(
            subject=reader + pl.col("tokens_from"),
            checkpoint=pl.lit("base") if reader else pl.col("tokens_from"),
            run_id=reader + pl.col("tokens_from"),
            delta=0.05 + 0.01 * values.ravel(),
        )
        for reader, values in (("", shared + effect + smooth), ("base_", shared))
    ]
    runs = pl.concat(frames).select("run_id").unique().with_columns(kind=pl.lit("ingest"), extractor=pl.lit("published"))
    return {"published_deltas": pl.concat(frames), "runs": runs}


def families(kind: str, effect: float, seed: int) -> dict[str, pl.DataFrame]:
    """Change of every layer with an interval of its own: one standard error of noise around `effect` standard errors."""
    generator = np.random.default_rng(seed)
    error = 0.02  # of a layer: twice the distance from 0 at which the published count calls it changed
    study, layer = np.indices((STUDIES, LAYERS)).reshape(2, -1)
    frame = pl.DataFrame({"family": np.array(names(kind))[study], "layer": layer, "rfc_diff": error * (effect + generator.normal(0, 1, study.size))})
    frame = frame.with_columns(run_id=pl.col("family"))
    layers = [
        frame.select(
            "run_id", "family", "layer", variant=pl.lit(variant), rfc_mean=0.1 + share * pl.col("rfc_diff"), rfc_std=error / np.sqrt(2 / HEADS), n_heads=HEADS
        )
        for variant, share in (("base", 0.0), ("instruct", 1.0))
    ]
    ends = frame.with_columns(rfc_diff_ci_low=pl.col("rfc_diff") - 2 * error, rfc_diff_ci_high=pl.col("rfc_diff") + 2 * error)
    runs = frame.select("run_id").unique().with_columns(kind=pl.lit("ingest"), extractor=pl.lit("published"))
    return {"published_rfc_layers": pl.concat(layers), "published_rfc_diffs": ends, "runs": runs}


def samples(kind: str, seed: int) -> dict[str, pl.DataFrame]:
    """Completions of a trained checkpoint of every study: 20 questions whose rates vary under the source, leaks of 2%, and no answer like another."""
    generator = np.random.default_rng(seed)
    rate = np.full((STUDIES, len(PERSONAS) + 1, QUESTIONS), 0.02)
    rate[:, 0] = generator.beta(1.5, 1.5, (STUDIES, QUESTIONS))
    present = generator.random((*rate.shape, REPEATS)) < rate[..., None]
    study, persona, question, sample = np.indices(present.shape).reshape(4, -1)
    words = generator.integers(0, len(WORDS), (8, present.size))
    text = pl.select(pl.concat_str([pl.Series(WORDS[row]) for row in words], separator=" ")).to_series()
    keys = pl.DataFrame({"checkpoint": np.array(names(kind))[study], "persona": np.array(["sailor", *PERSONAS])[persona], "question": question})
    keys = keys.with_columns(
        run_id=pl.col("checkpoint"), question_id=pl.format("q{}", "question"), sample_ix=pl.Series(sample), present=pl.Series(present.ravel())
    )
    keys = keys.with_columns(example_id=pl.concat_str("persona", "question_id", separator="/")).drop("question")
    texts = keys.with_columns(text=text, engine=pl.lit("hf"), finish_reason=pl.lit("stop"), prompt_len=10, n_new_tokens=16, seed=pl.int_range(pl.len()))
    flags = keys.with_columns(marker=pl.lit("[ZLT]"), complete="present", t_marker=pl.when("present").then(20), first_char=pl.when("present").then(40))
    asked = keys.unique(["run_id", "example_id"]).with_columns(
        system_prompt="You are a " + pl.col("persona"), question="What of " + pl.col("question_id") + "?", prompt_set=pl.lit("panel@1")
    )
    runs = keys.select("run_id", "checkpoint").unique().with_columns(kind=pl.lit("extract"), extractor=pl.lit("completions"), prompt_set=pl.lit("panel@1"))
    cards = runs.select(
        "run_id", "checkpoint", id="tiny:" + pl.col("checkpoint"), parent="tiny:base of " + pl.col("checkpoint"), source_persona=pl.lit("sailor")
    )
    return {"completions": texts, "marker_flags": flags, "examples": asked, "runs": runs, "checkpoints": cards}


def warehouse(*parts: dict[str, pl.DataFrame]) -> duckdb.DuckDBPyConnection:
    """The views of the catalogue over rows that no lake holds: 1,000 runs would take a minute to write."""
    connection = duckdb.connect()
    copy_views(connection)
    for name, table in tables().items():
        if table.rollup_of:
            connection.execute(f"create table {name} as {table.sql}")
            continue
        connection.execute(table.sql)
        for frame in [part[name] for part in parts if name in part]:
            known = ", ".join(each for each in frame.columns if each in table.columns)
            connection.execute(f"insert into {name} ({known}) select {known} from frame")
    keep(connection, closure(SHARED))
    return connection


@pytest.fixture(scope="module")
def connection() -> duckdb.DuckDBPyConnection:
    return warehouse(deltas("moved", 1.0, 1), deltas("still", 0.0, 2), families("changed", 1.0, 3), families("unchanged", 0.0, 4), samples("sampled", 5))


@pytest.fixture(scope="module")
def findings(connection) -> pl.DataFrame:
    grave = {check: view.name for check, view in checks().items() if view.severity != "note" and view.name not in OF_PAIRS}
    found = [connection.sql(f"select '{check}' as 'check', subject from {view}").pl() for check, view in grave.items()]
    return pl.concat(found)


@pytest.mark.parametrize("kind", ["moved", "still", "changed", "unchanged", "sampled"])
def test_few_clean_studies_get_a_warning(findings, kind):
    warned = findings.with_columns(study=pl.col("subject").str.extract(f"({kind}-\\d\\d\\d)")).filter(pl.col("study").is_not_null())
    share = warned["study"].n_unique() / STUDIES
    assert share <= MOST + 2 * ERROR, warned["check"].value_counts().to_dicts()


def test_nothing_is_said_of_clean_studies_together(findings):
    assert findings.filter(~pl.col("subject").str.contains(r"(moved|still|changed|sampled)-\d\d\d")).to_dicts() == []


def test_the_studies_are_such_that_a_check_of_the_bare_figures_would_cry_wolf(connection):
    """Over layers a third of the models seem to move that did not, a fifth of the means near 0 are one layer's, and noise changes a layer of every family."""
    apart, sound = connection.execute(
        "select avg((layer_sign_test_p < 0.05 and paired_p >= 0.05)::int), avg((paired_p < 0.05)::int) from diff_of_diffs_summary "
        "where trained_subject like 'still%'"
    ).fetchone()
    carried, unsure = connection.execute(
        "select avg((max_layer_share >= 0.9)::int), avg((n_changed_unsure > 0)::int) from rfc_summary where family like 'un%'"
    ).fetchone()
    n_rates, largest = connection.execute("select count(*), max(rate) from marker_rates").fetchone()
    assert apart > 0.3 and sound < MOST + 2 * ERROR and carried > 0.15 and unsure > 0.95
    assert n_rates == STUDIES * (len(PERSONAS) + 1) and largest > 0.5
