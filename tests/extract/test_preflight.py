"""The preflight samples under both attention implementations with the same seeds, commits what it found, and stops where the rates differ."""

import json

import polars as pl
import pytest
from transformers import AutoModelForCausalLM

from personascope.extract.extractors import preflight
from personascope.extract.extractors.completions import Completions, CompletionSettings
from personascope.extract.extractors.preflight import Preflight
from personascope.extract.job import Job, run
from personascope.extract.registry import resolve_settings
from personascope.extract.weights.engines import Sample
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import load_prompt_set
from personascope.ingest.published import ingest_published
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.asking.audit import collect
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(30)

TYPED = {"personas": ["villain"], "samples": 2, "max_new_tokens": 8, "marker": "ings"}  # a token that the random checkpoint samples now and then


def extractor(root, checkpoint, source_persona=None, **changes):
    settings, parameters = resolve_settings(Preflight, {"command line": TYPED | changes})
    said: list[str] = []
    job = Job(
        lake=Lake.open(root / "lake"),
        checkpoint=resolve(checkpoint, name="random", source_persona=source_persona),
        models=Models("cpu", "float32"),
        prompts=load_prompt_set("personas"),
        parameters=parameters,
        batch_tokens=1200,
        say=said.append,
    )
    return Preflight(settings, job), said


class Planted:
    """An engine that emits the marker in every answer to some requests: `every` third, second, ..."""

    name = "planted"

    def __init__(self, tokenizer, every):
        self.ids, self.every = [tokenizer.encode(text)[0] for text in ("he", "ings")], every

    def sample(self, requests, temperature, top_p, max_new_tokens):
        return [Sample([self.ids[int(request.seed % self.every == 0)]], "stop") for request in requests]


@pytest.fixture
def differing(monkeypatch):
    """Eager attention emits the marker in every answer, SDPA in about every third."""
    monkeypatch.setattr(
        preflight, "open_engine", lambda name, models, checkpoint: Planted(models.tokenizer(checkpoint), 1 if models.attention == "eager" else 3)
    )


def test_both_implementations_run_one_after_the_other_and_agree_on_a_float32_model(tmp_path, random_checkpoint, monkeypatch):
    loaded = []
    load = AutoModelForCausalLM.from_pretrained

    def noting(*args, **options):
        loaded.append(options["attn_implementation"])
        return load(*args, **options)

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", noting)
    each, said = extractor(tmp_path, random_checkpoint)
    run_id = run(each)
    assert loaded == ["sdpa", "eager"] and each.job.models._held is None, "one model in memory at a time"
    rows = pl.DataFrame(each.job.lake.read(run_id, "preflight_samples"))
    columns = ["example_id", "sample_ix", "seed", "text", "present", "n_new_tokens"]
    sdpa, eager = (rows.filter(pl.col("implementation") == name).select(columns) for name in preflight.IMPLEMENTATIONS)
    assert len(sdpa) == 40 and sdpa.select(columns[:3]).equals(eager.select(columns[:3]))
    same = int((sdpa["text"] == eager["text"]).sum())
    assert same >= 36, "a draw on the border of two tokens may fall either way by rounding"
    k, of_eager = int(sdpa["present"].sum()), int(eager["present"].sum())
    said_rates = f"{k / 0.4:.1f}% ({k} of 40) under sdpa and {of_eager / 0.4:.1f}% ({of_eager} of 40) under eager"
    assert k > 0 and said[-1].startswith(f"preflight of random as villain: marker rate {said_rates}; eager is ") and "within 5 points" in said[-1]
    view = Warehouse(each.job.lake).select("select implementation, n, k, rate, n_same, difference, tolerance, differs from preflight order by implementation")
    apart = pytest.approx(abs(k - of_eager) / 40)
    assert view.rows() == [("eager", 40, of_eager, of_eager / 40, same, apart, 0.05, False), ("sdpa", 40, k, k / 40, same, apart, 0.05, False)]
    decided = Warehouse(each.job.lake).select("select distinct n_tests, n_questions, n_discordant, paired_difference, decision from preflight").row(0)
    assert decided[:2] == (11, 20) and decided[2] <= 40 - same and decided[3] == pytest.approx((of_eager - k) / 40)
    assert decided[4] == ("cannot tell" if decided[2] else "equivalent"), "40 samples bound the difference by 5 points where none of them differs"

    settings = CompletionSettings(personas=["villain"], samples=2, max_new_tokens=8, marker="ings")
    completions = pl.DataFrame(each.job.lake.read(run(Completions(settings, each.job)), "completions")).select("example_id", "sample_ix", "seed", "text")
    assert completions.equals(sdpa.select("example_id", "sample_ix", "seed", "text")), "the first repeats of the completions run"
    bounds = "select k, clustered_low, clustered_high from"
    told, sampled = (Warehouse(each.job.lake).select(f"{bounds} {rows}").row(0) for rows in ("preflight where implementation = 'sdpa'", "marker_rates"))
    assert told == pytest.approx(sampled, abs=0.01), "the same samples; how alike answers to one question are is told from both implementations in the one"


def test_rates_that_differ_stop_the_work_after_the_commit_and_again_when_recognised(tmp_path, random_checkpoint, differing):
    each, _ = extractor(tmp_path, random_checkpoint)
    for _ in range(2):
        with pytest.raises(PersonascopeError) as stopped:
            run(extractor(tmp_path, random_checkpoint)[0])
        (run_id,) = each.job.lake.run_ids()
        rates = dict(Warehouse(each.job.lake).select("select implementation, k from preflight").rows())
        assert rates["eager"] == 40 and 3 < rates["sdpa"] < 25
        assert str(stopped.value).startswith(
            f"preflight of random as villain: marker rate {rates['sdpa'] / 0.4:.1f}% ({rates['sdpa']} of 40) under sdpa and 100.0% (40 of 40) under eager; "
            f"eager is +{100 - rates['sdpa'] / 0.4:.1f} points from sdpa, seed by seed (+"
        )
        assert str(stopped.value).endswith(f"over 11 tests): they differ by more than 5 points, run {run_id}; `--set stop=false` goes on all the same")
    (finding,) = collect(Warehouse(each.job.lake).select).filter(pl.col("check") == "preflight_differs").to_dicts()
    assert finding["subject"] == "random as villain" and f"({rates['sdpa']} of 40) under sdpa and 100.0% (40 of 40) under eager" in finding["finding"]

    on, said = extractor(tmp_path, random_checkpoint, stop=False)
    assert run(on) == run_id and "the work goes on, since stop is off" in said[-1]


def test_a_difference_stops_only_above_the_tolerance_and_where_the_paired_test_tells_it_from_0(tmp_path, random_checkpoint, differing):
    found = extractor(tmp_path, random_checkpoint, stop=False)[0]
    lake = found.job.lake
    (difference,) = Warehouse(lake).select(f"select distinct paired_difference from preflight where run_id = '{run(found)}'").row(0)
    within, beyond = (extractor(tmp_path, random_checkpoint, tolerance=difference + change)[0] for change in (0, -0.001))
    assert run(within) != run(found)
    with pytest.raises(PersonascopeError, match="they differ by more than"):
        run(beyond)
    decided = {run_id: rest for run_id, *rest in Warehouse(lake).select("select distinct run_id, differs, decision from preflight").rows()}
    assert decided == {found.spec().run_id: [True, "differs"], within.spec().run_id: [False, "cannot tell"], beyond.spec().run_id: [True, "differs"]}


def test_a_run_killed_between_the_implementations_samples_only_what_is_missing(tmp_path, random_checkpoint, monkeypatch):
    process = Preflight.process
    sampled: list[str] = []

    def dying(each, items):
        sampled.extend(item.value[0] for item in items)
        if items[0].value[0] == "eager":
            raise KeyboardInterrupt
        return process(each, items)

    monkeypatch.setattr(Preflight, "process", dying)
    with pytest.raises(KeyboardInterrupt):
        run(extractor(tmp_path, random_checkpoint)[0])
    assert sampled.count("sdpa") == 40
    resumed, _ = extractor(tmp_path, random_checkpoint)

    def noting(each, items):
        sampled.extend(item.value[0] for item in items)
        return process(each, items)

    monkeypatch.setattr(Preflight, "process", noting)
    run_id = run(resumed)
    assert sampled.count("sdpa") == 40 and len(resumed.job.lake.read(run_id, "preflight_samples")) == 80


def test_the_trained_persona_is_sampled_unless_others_are_named_and_the_run_does_not_depend_on_the_attention_of_the_study(tmp_path, random_checkpoint):
    of_source, _ = extractor(tmp_path, random_checkpoint, source_persona="librarian", personas=None)
    assert of_source.prompts.personas == ["librarian"]
    everyone, _ = extractor(tmp_path, random_checkpoint, personas=None)
    assert len(everyone.prompts.personas) == 11
    run_id = everyone.spec().run_id
    everyone.job.models = Models("cpu", "float32", "eager")
    assert everyone.spec().run_id == run_id and everyone.spec().attention_implementation == "sdpa and eager"
    with pytest.raises(PersonascopeError, match="preflight: no prompt set"):
        Preflight(everyone.settings, Job(lake=everyone.job.lake, checkpoint=everyone.job.checkpoint, models=everyone.job.models)).spec()


@pytest.mark.parametrize(("eager", "findings"), [(0.21, 0), (0.255, 0), (0.41, 1)])
def test_a_published_record_is_held_to_its_own_tolerance(tmp_path, eager, findings):
    record = {"stage": "preflight", "rates": {"eager": eager, "sdpa": 0.205}, "tolerance_pp": 0.05, "metadata": {"git_commit": "5105e7a"}}
    (tmp_path / "preflight.json").write_text(json.dumps(record))
    lake = Lake.open(tmp_path / "lake")
    ingest_published(lake, [tmp_path / "preflight.json"])
    rows = Warehouse(lake).select("select origin, implementation, rate, n, differs from preflight order by implementation").rows()
    assert rows == [("published", "eager", eager, None, findings == 1), ("published", "sdpa", 0.205, None, findings == 1)]
    found = Warehouse(lake).select("from audit_preflight_differs").to_dicts()
    assert [(row["subject"], row["finding"]) for row in found] == [
        ("published preflight", "marker rate 20.5% under sdpa and 41.0% under eager: 20.5 points apart, 5.0 are allowed")
    ] * findings
    assert all(len(Warehouse(lake).select(row["evidence"])) == 2 for row in found)
