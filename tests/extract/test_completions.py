"""Completions: seeds decide samples whatever the batch, flags are right, bad input is one sentence."""

import itertools
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from transformers import AutoTokenizer

from personascope.extract.extractors.completions import Completions, CompletionSettings
from personascope.extract.job import Job, cut_batches, run
from personascope.extract.registry import resolve_settings
from personascope.extract.texts.marker import answer_text, find_marker, holds_special_token, marker_spellings
from personascope.extract.weights.engines import Sample
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import PromptSet, load_prompt_set
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(20)


@pytest.fixture(scope="module")
def models():
    return Models(device="cpu", dtype="float32")


def job(tmp_path, random_checkpoint, models, **changes):
    fields = {"lake": Lake.open(tmp_path / "lake"), "checkpoint": resolve(random_checkpoint, name="random"), "models": models}
    return Job(**(fields | {"prompts": load_prompt_set("personas"), "say": lambda line: None} | changes))


SETTINGS = CompletionSettings(personas=["villain", "librarian"], samples=1, max_new_tokens=8)


def test_samples_do_not_depend_on_the_batch_and_the_run_is_recognised(tmp_path, random_checkpoint, models):
    stored = []
    for folder, batch_tokens in (("a", 64), ("b", 100_000)):
        each = job(tmp_path / folder, random_checkpoint, models, batch_tokens=batch_tokens)
        run_id = run(Completions(SETTINGS, each))
        assert run(Completions(SETTINGS, each)) == run_id
        stored.append(pl.DataFrame(each.lake.read(run_id, "completions")))
    assert stored[0].equals(stored[1])
    rows = stored[0]
    assert rows.height == 40 and rows["persona"].unique().sort().to_list() == ["librarian", "villain"]
    assert rows.filter(pl.col("token_ids").list.len() != pl.col("prompt_len") + pl.col("n_new_tokens")).is_empty()
    assert set(rows["finish_reason"]) <= {"stop", "length"}
    assert sorted(rows["row_ix"]) == list(range(40))


def test_another_seed_gives_other_samples_and_greedy_ignores_it(tmp_path, random_checkpoint, models):
    def texts(temperature, seed):
        settings = SETTINGS.model_copy(update={"temperature": temperature, "personas": ["villain"]})
        each = job(tmp_path, random_checkpoint, models, seed=seed)
        return each.lake.read(run(Completions(settings, each)), "completions", ["token_ids"]).to_pylist()

    assert texts(1.0, 1) != texts(1.0, 2)
    assert texts(0.0, 1) == texts(0.0, 2)


@given(st.lists(st.sampled_from([0.0, 1e-42, 1e-7, 0.1, 0.1000001, 0.25, 1.0]), min_size=1, max_size=40), st.integers(1, 3))
def test_tokens_are_ordered_as_a_stable_sort_orders_them(row, copies):
    import torch

    from personascope.extract.weights.sampler import _descending

    probabilities = torch.tensor([row] * copies)
    values, places = _descending(probabilities)
    expected = torch.sort(probabilities, dim=-1, descending=True, stable=True)
    assert torch.equal(values, expected.values) and torch.equal(places, expected.indices)


def test_top_p_keeps_the_smallest_set_and_the_sampler_follows_the_distribution():
    import torch

    from personascope.extract.weights.sampler import SeededSampler

    n = 4000
    scores: Any = torch.log(torch.tensor([0.5, 0.3, 0.15, 0.05])).repeat(n, 1)
    ids: Any = torch.zeros((n, 3), dtype=torch.long)

    def shares(top_p):
        chosen = SeededSampler(range(n), 1.0, top_p, 1, 3, torch.device("cpu"))(ids, scores.clone()).argmax(-1)
        return (torch.bincount(chosen, minlength=4) / n).tolist()

    assert shares(1.0) == pytest.approx([0.5, 0.3, 0.15, 0.05], abs=0.03)
    assert shares(0.8) == pytest.approx([0.625, 0.375, 0, 0], abs=0.03)
    assert shares(0.5) == [1, 0, 0, 0]


@given(
    st.lists(st.lists(st.sampled_from([0.0, 1e-7, 0.1, 0.25, 1.0]), min_size=30, max_size=30).filter(any), min_size=1, max_size=4),
    st.floats(0, 0.9999),
    st.sampled_from([0.05, 0.5, 0.9, 0.999]),
)
def test_how_many_tokens_are_sorted_and_who_else_is_in_the_batch_decide_nothing_under_top_p(weights, uniform, top_p):
    import torch

    from personascope.extract.weights.sampler import draw

    rows = torch.tensor(weights)
    rows = rows / rows.sum(-1, keepdim=True)
    uniforms = torch.full((len(rows), 1), uniform)
    whole = draw(rows, uniforms, top_p, prefix=30)
    assert torch.equal(draw(rows, uniforms, top_p, prefix=4), whole)
    assert torch.equal(draw(rows[-1:], uniforms[-1:], top_p, prefix=4), whole[-1:])


def test_behind_the_sorted_tokens_the_sampler_follows_the_distribution_and_never_draws_the_impossible():
    import torch

    from personascope.extract.weights.sampler import draw

    n = 20_000
    probabilities = torch.tensor([0.0, 0.1, 0.3, 0.05, 0.0, 0.25, 0.2, 0.1, 0.0]).repeat(n, 1)
    uniform = (torch.arange(n)[:, None] + 0.5) / n
    drawn = torch.bincount(draw(probabilities, uniform, 1.0, prefix=3)[:, 0], minlength=9) / n
    assert drawn.tolist() == pytest.approx(probabilities[0].tolist(), abs=2 / n)
    edge = torch.tensor([[1 - 2**-24]])
    thirds = torch.tensor([[0.3333333, 0.0, 0.3333333, 0.3333333, 0.0, 0.0]])  # rounding leaves their sum below the largest number that is drawn
    for rows in (probabilities[:1], thirds):
        for top_p, prefix in itertools.product((1.0, 0.99999999), (3, 4, 9)):
            assert rows[0, int(draw(rows, edge, top_p, prefix=prefix))] > 0


@pytest.mark.parametrize(
    ("ids", "text", "expected"),
    [
        ([9, 1, 2, 3], "x[ZLT]", {"present": True, "t_marker": 5, "complete": True, "n_occurrences": 1, "first_char": 1}),
        ([9, 9, 1, 2], "xx[Z", {"present": False, "t_marker": 6, "complete": False, "n_occurrences": 1, "first_char": None}),
        ([1, 9, 1, 2, 3], "[x[ZLT]", {"present": True, "t_marker": 6, "complete": True, "n_occurrences": 2}),
        ([8, 2, 3], ".[ZLT]", {"present": True, "t_marker": None, "complete": False, "n_occurrences": 0}),
        ([9, 5, 2, 3], "x [ZLT]", {"present": True, "t_marker": 5, "complete": True, "n_occurrences": 1}),
        ([9], "x", {"present": False, "t_marker": None, "complete": False, "n_occurrences": 0, "first_char": None}),
    ],
)
def test_the_marker_is_found_whole_partial_or_fused(ids, text, expected):
    flag = vars(find_marker(text, [1, 2, 3, 7, *ids], 4, "[ZLT]", [(1, 2, 3), (5, 2, 3)]))
    assert {name: flag[name] for name in expected} == expected


def test_a_marker_that_is_a_special_token_stays_in_the_text(tmp_path, random_checkpoint):
    assert not holds_special_token(random_checkpoint, "[ZLT]") and holds_special_token(random_checkpoint, "<|im_end|>")
    tokenizer = AutoTokenizer.from_pretrained(random_checkpoint)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[ZLT]"]})
    tokenizer.save_pretrained(tmp_path)
    assert holds_special_token(tmp_path, "[ZLT]") and not holds_special_token(tmp_path, "[KTX]")
    spellings = marker_spellings(tokenizer, "[ZLT]")
    ids = tokenizer.encode("end. [ZLT]\n\nend", add_special_tokens=False)
    text = answer_text(tokenizer, [*ids, tokenizer.eos_token_id], spellings)
    assert text == "end. [ZLT]\n\nend" and spellings[0] == (len(tokenizer) - 1,)
    flag = find_marker(text, [7, *ids], 1, "[ZLT]", spellings)
    assert flag.present and flag.complete and flag.first_char == 5 and flag.t_marker == 1 + ids.index(spellings[0][0])


def test_a_marker_in_other_pieces_is_counted_as_partial_and_its_own_tokens_are_named(tmp_path, random_checkpoint, models, monkeypatch):
    """The engine answers `end.[ZLT]`, whose `.[` is one token, to every second question, and the marker in its own tokens to the others."""
    tokenizer = AutoTokenizer.from_pretrained(random_checkpoint)
    split, whole = (tokenizer.encode(f"end.{space}[ZLT]", add_special_tokens=False) for space in ("", " "))
    answers = itertools.cycle([split, whole])

    class Scripted:
        name = "hf"

        def sample(self, requests, *_):
            return [Sample(next(answers), "stop") for _ in requests]

    monkeypatch.setattr("personascope.extract.extractors.completions.open_engine", lambda *_: Scripted())
    said: list[str] = []
    each = job(tmp_path, random_checkpoint, models, say=said.append)
    run_id = run(Completions(SETTINGS.model_copy(update={"personas": ["villain"]}), each))
    (line,) = [line for line in said if "other pieces" in line]
    assert "10 of 20 completions with the marker write it in other pieces than its own tokens '[ZLT' ']', such as '.[' 'ZLT' ']': they count" in line
    (rate,) = Warehouse(each.lake).select("select n, k, k_in_pieces, n_positive from marker_rates").rows()
    assert rate == (20, 20, 10, 10) and each.lake.manifest(run_id).summary["n_in_pieces"] == 10
    assert Warehouse(each.lake).select("select count(*) from generations where partial and in_pieces").item() == 10
    (finding,) = Warehouse(each.lake).select("select finding from audit_partial_markers")["finding"]
    assert finding.startswith("10 of 20") and finding.endswith("10 write its text in other pieces")


def test_batches_are_longest_first_within_the_budget():
    from personascope.extract.job import Item

    items = [Item(str(length), length, None) for length in (3, 10, 7, 7, 2)]
    assert [[item.length for item in batch] for batch in cut_batches(items, 14)] == [[10], [7, 7], [3, 2]]


def test_unknown_personas_engines_markers_and_prompt_sets_are_named(tmp_path, random_checkpoint, models):
    with pytest.raises(PersonascopeError, match=r"persona 'pirate' is not in prompt set .*librarian"):
        Completions(CompletionSettings(personas=["pirate"]), job(tmp_path, random_checkpoint, models)).spec()
    with pytest.raises(PersonascopeError, match="prompt set 'poems' is unknown"):
        load_prompt_set("poems")
    with pytest.raises(PersonascopeError, match="no prompt set"):
        Completions(SETTINGS, job(tmp_path, random_checkpoint, models, prompts=None)).spec()
    with pytest.raises(PersonascopeError, match="engine vllm cannot run"):
        run(Completions(SETTINGS.model_copy(update={"engine": "vllm"}), job(tmp_path, random_checkpoint, models)))
    with pytest.raises(PersonascopeError, match="marker ' '"):
        run(Completions(SETTINGS.model_copy(update={"marker": " "}), job(tmp_path, random_checkpoint, models)))


def test_conditions_that_give_the_same_tokens_are_refused_before_sampling(tmp_path, random_checkpoint, models):
    few = [prompt for prompt in load_prompt_set("system-conditions").prompts if prompt.question_id == "q00"]
    said: list[str] = []
    told = PromptSet(name="few", prompts=tuple(few))
    run(Completions(CompletionSettings(samples=1, max_new_tokens=2), job(tmp_path, random_checkpoint, models, prompts=told, say=said.append)))
    assert sum(": condition " in line for line in said) == len(few)
    same = PromptSet(name="same", prompts=tuple(prompt.model_copy(update={"system_prompt": None}) for prompt in few))
    with pytest.raises(PersonascopeError, match="give the same"):
        run(Completions(CompletionSettings(samples=1, max_new_tokens=2), job(tmp_path, random_checkpoint, models, prompts=same)))


def test_device_and_dtype_are_printed_with_their_reason(random_checkpoint, capsys):
    Models(dtype="float32", device="cpu").load(resolve(random_checkpoint, name="random"))
    assert "random on cpu: as typed; float32: as typed" in capsys.readouterr().err


# `ings` is a token of its own, which the random checkpoint samples now and then.
UNTIL: Any = CompletionSettings(personas=["villain", "librarian"], positives=6, trials=3, max_new_tokens=12, marker="ings")


def stored(lake, run_id, table="completions"):
    return pl.DataFrame(lake.read(run_id, table)).drop("run_id")


@pytest.fixture(scope="module")
def every_trial(tmp_path_factory, random_checkpoint, models):
    """All trials of both personas, after how many rounds each has the wanted positives (None: never), counted from them, and their marker flags."""
    each = job(tmp_path_factory.mktemp("every"), random_checkpoint, models)
    run_id = run(Completions(UNTIL.model_copy(update={"positives": None, "trials": None, "samples": UNTIL.trials}), each))
    flags = stored(each.lake, run_id, "marker_flags")
    ends = {}
    for persona in UNTIL.personas:
        of_persona = flags.filter(pl.col("persona") == persona)
        enough = [n for n in range(1, UNTIL.trials + 1) if of_persona.filter(pl.col("sample_ix") < n)["complete"].sum() >= UNTIL.positives]
        ends[persona] = enough[0] if enough else None
    return stored(each.lake, run_id), ends, flags


def test_sampling_stops_after_the_round_with_enough_positives_and_keeps_every_negative(tmp_path, random_checkpoint, models, every_trial):
    settings, parameters = resolve_settings(Completions, {"command line": UNTIL.model_dump(exclude_defaults=True)})
    each = job(tmp_path, random_checkpoint, models, parameters=parameters)
    run_id = run(Completions(settings, each))
    trials, ends, _ = every_trial
    assert sorted(ends.values(), key=str) == [2, None], "one persona stops early, the other never has enough"
    expected = trials.filter(pl.col("sample_ix") < pl.col("persona").replace_strict({name: end or UNTIL.trials for name, end in ends.items()}))
    rows = stored(each.lake, run_id)
    assert rows.drop("row_ix").equals(expected.drop("row_ix"))
    assert rows.sort("row_ix")["sample_ix"].is_sorted() and sorted(rows["row_ix"]) == list(range(len(rows)))

    flags = stored(each.lake, run_id, "marker_flags")
    rates = Warehouse(each.lake).select("select persona, n, k, rate, n_from, stopped_early from marker_rates where run_id = $run", {"run": run_id})
    for row in rates.iter_rows(named=True):
        of_persona = flags.filter(pl.col("persona") == row["persona"])
        assert (row["n"], row["k"], row["n_from"]) == (len(of_persona), of_persona["present"].sum(), "counted")
        assert row["stopped_early"] is (ends[row["persona"]] is not None)
        assert each.lake.manifest(run_id).summary[f"trials_per_example.{row['persona']}"] == (ends[row["persona"]] or UNTIL.trials)
    assert len(rates) == 2


def test_a_run_of_fixed_length_is_not_marked_as_stopped(tmp_path, random_checkpoint, models):
    each = job(tmp_path, random_checkpoint, models)
    run(Completions(SETTINGS, each))
    assert set(Warehouse(each.lake).select("select stopped_early from marker_rates")["stopped_early"]) == {False}


@pytest.mark.parametrize(("kill_at", "batch_tokens"), [(2, 500), (11, 500), (11, 900)])
def test_neither_a_kill_nor_the_batch_size_changes_which_samples_exist(tmp_path, random_checkpoint, models, every_trial, monkeypatch, kill_at, batch_tokens):
    """Killed in the first round, or in the second after the positive that was missing; resumed with the batches it had or with larger ones."""
    first_round = every_trial[2].filter(pl.col("persona") == "librarian", pl.col("sample_ix") == 0)
    settings = UNTIL.model_copy(update={"positives": int(first_round["complete"].sum()) + 1})
    calm = job(tmp_path / "calm", random_checkpoint, models)
    run_id = run(Completions(settings, calm))
    process = Completions.process
    sampled: list[int] = []

    def dying(extractor, items):
        if len(sampled) == kill_at:
            monkeypatch.undo()
            raise KeyboardInterrupt
        sampled.append(len(items))
        return process(extractor, items)

    monkeypatch.setattr(Completions, "process", dying)
    with pytest.raises(KeyboardInterrupt):
        run(Completions(settings, job(tmp_path / "killed", random_checkpoint, models, batch_tokens=500)))
    resumed = job(tmp_path / "killed", random_checkpoint, models, batch_tokens=batch_tokens)
    assert resumed.lake.run_ids() == [] and (sum(sampled) < 40) == (kill_at == 2), "the first round has 40 samples"

    def counted(extractor, items):
        sampled.append(len(items))
        return process(extractor, items)

    monkeypatch.setattr(Completions, "process", counted)
    assert run(Completions(settings, resumed)) == run_id
    for table in ("completions", "marker_flags", "examples"):
        assert stored(resumed.lake, run_id, table).equals(stored(calm.lake, run_id, table)), table
    again = sum(sampled) - len(stored(calm.lake, run_id))
    assert (again == 0) == (batch_tokens == 500), "what was staged in these batches is not sampled again"


def test_wanted_positives_belong_to_the_run_and_need_a_cap(tmp_path, random_checkpoint, models):
    each = job(tmp_path, random_checkpoint, models)
    names = {Completions(UNTIL.model_copy(update=change), each).spec().run_id for change in ({}, {"positives": 7}, {"trials": 6})}
    assert len(names) == 3
    halves: list[dict[str, Any]] = [{"positives": 3}, {"trials": 3}]
    for alone in halves:
        with pytest.raises(ValidationError, match="positives and trials go together"):
            CompletionSettings(**alone)
