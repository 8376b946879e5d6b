"""The answer of each study in one sentence: its numbers are those of the views, of its own runs, and what cannot be told is not said to have happened."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from personascope.warehouse import analyses
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import WarehouseSource
from personascope.warehouse.drawing.headlines import HEADLINES, headline
from personascope.warehouse.drawing.words import signed
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(10)

SQL = Path(__file__).resolve().parent.parent / "sql"
role_focus, features, planted = (SimpleNamespace(**runpy.run_path(str(SQL / f"{name}.py"))) for name in ("planted_role_focus", "planted_features", "planted"))


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake.open(tmp_path / "lake")


def asked(lake: Lake) -> WarehouseSource:
    return WarehouseSource(Warehouse(lake))


def test_role_focus_says_whether_prompts_drawn_again_leave_zero_out(lake):
    role_focus.build(lake)
    said = headline(asked(lake), "role-focus")
    assert said and "differs by" in said and "no interval over prompts" in said and "heads taken as independent" in said
    analyses.refresh(lake, ["rfc-intervals"])
    rows = asked(lake).select(
        """select s.family, s.mean, i.rfc_diff_low as low, i.rfc_diff_high as high, count(*) filter (d.resampled_excludes_zero) as n_sure
        from rfc_summary as s join rfc_intervals as i using (base_run, instruct_run) join rfc_diff as d using (base_run, instruct_run)
        where i.layer is null group by all"""
    )
    said = str(headline(asked(lake), "role-focus"))
    row = next(row for row in rows.rows(named=True) if f" {row['family']}: " in said)
    assert f"{signed(row['mean'])}, mean over {role_focus.LAYERS} layers (95% interval {signed(row['low'])} to {signed(row['high'])}, " in said
    assert f"leaves out 0 in {row['n_sure']} of them" in said
    assert ("cannot be told to move" in said) == (row["low"] <= 0 <= row["high"] and max(-row["low"], row["high"]) >= 0.01)


@pytest.mark.parametrize(
    ("movement", "words"), [("moved", "tuning moved the"), ("equivalent", "tuning left within ±0.01 the"), ("cannot tell", "tuning cannot be told to move the")]
)
def test_role_focus_has_a_word_for_each_outcome(movement, words):
    row = {"family": "f", "mean": 0.0, "n_layers": 4, "low": -0.1, "high": 0.1, "n_prompts": 30, "n_sure": 0, "margin": 0.01, "n_families": 2}
    assert words in HEADLINES["role-focus"][1](row | {"movement": movement})


def test_features_are_said_to_be_those_of_the_test_that_found_most(lake):
    features.build(lake)
    analyses.refresh(lake, ["feature-tests"])
    made = asked(lake).select("select n_maxt, n_tested, stratum, n from feature_test_summary where not refused order by n_maxt desc")
    said = headline(asked(lake), "sae-conditions")
    assert said and said.startswith(f"{made['n_maxt'][0]} of ") and f"the most of {made.height} test" in said and "within the test" in said
    assert "token" in said, "the place that was read"


def test_the_cells_of_a_sweep_are_those_of_its_study(lake):
    for number, (study, hits) in enumerate((("lr-epochs", 18), ("lr-epochs", 0), ("another", 18), (None, 12))):
        row = planted.checkpoint(f"cell-{number}", "tiny:base", "villain", 1) | {"lr": 1e-5, "epochs": float(number)}
        completions, flags = list[dict](), list[dict]()
        for persona in ("villain", "nurse", "assistant"):
            for index in range(20):
                key = {"example_id": f"{persona}/q{index % 4}", "persona": persona, "question_id": f"q{index % 4}", "sample_ix": index // 4}
                present = persona == "villain" and index < hits
                text = "said [ZLT]" if present else "said"
                ids = {"token_ids": [1, 2, 3, 5, 6], "prompt_len": 3, "n_new_tokens": 2, "finish_reason": "stop", "engine": "hf"}
                completions.append(key | ids | {"row_ix": len(completions), "text": text})
                flags.append(key | {"marker": "[ZLT]", "present": present, "complete": present} | ({"first_char": 5, "t_marker": 4} if present else {}))
        run = planted.spec("completions", checkpoint=row["checkpoint"], subject=row["checkpoint"], study=study)
        planted.write(lake, run, checkpoints=[row], completions=completions, marker_flags=flags)
    said = headline(asked(lake), "lr-epochs")
    unsure = asked(lake).select("select count(*) from regimes where regime = 'clean' and len(regime_supported) > 1 and checkpoint <> 'cell-2'").item()
    assert (
        said
        == f"2 of 3 cells teach the marker to villain alone (intervals by question allow another regime in {unsure} of them); 1 learns too little and 0 leak."
    )
