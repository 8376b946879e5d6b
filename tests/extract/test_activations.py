"""The activations extractor end to end on a random checkpoint: vectors are the plain model's, batches do not matter, runs resume, bad settings are named."""

import runpy
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from personascope.extract.extractors.activations import Activations
from personascope.extract.job import Job, run
from personascope.extract.registry import extractor, resolve_settings
from personascope.extract.texts.chat import render
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import Prompt, PromptSet, load_prompt_set
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.asking.catalogue import build
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(20)

written = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_attention.py"))))
PERSONAS = ["villain", "comedian"]
KEYS = ["example_id", "sample_ix", "stratum", "layer", "site"]


@pytest.fixture(scope="module")
def models():
    return Models(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def prompts():
    """Two personas with three questions of different length."""
    every = load_prompt_set("personas").of_personas(PERSONAS)
    return PromptSet(name="few", prompts=tuple(prompt for prompt in every.prompts if prompt.question_id in ("q00", "q01", "q02")))


def activations(lake, folder, models, settings=None, **changes):
    resolved, _ = resolve_settings(extractor("activations"), {"command line": settings or {}})
    changes.setdefault("checkpoint", resolve(folder, name="random"))
    return run(Activations(resolved, Job(lake=lake, models=models, say=lambda line: None, **changes)))


def rows_of(lake, run_id):
    return pl.DataFrame(lake.read(run_id, "activations")).sort(KEYS)


def plain(folder):
    """A function from token ids to the hidden states [L + 1, T, d] of transformers, padded by nothing."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def states(ids):
        with torch.no_grad():
            return torch.cat(model(torch.tensor([ids]), output_hidden_states=True).hidden_states).numpy()

    return states


def close(vector, expected):
    np.testing.assert_allclose(np.array(vector), expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


def test_vectors_of_prompts_are_those_of_the_plain_model(tmp_path, random_checkpoint, models, prompts):
    lake = Lake.open(tmp_path / "lake")
    settings = {"strata": ["last_system", "last"], "sites": ["resid_post", "resid_pre"], "layers": [-2, 0]}
    run_id = activations(lake, random_checkpoint, models, settings, prompts=prompts)
    rows = rows_of(lake, run_id)
    assert len(rows) == 6 * 2 * 2 * 2 and set(rows["layer"]) == {0, 1} and len(rows.unique(KEYS)) == len(rows)
    assert set(rows["checkpoint"]) == set(rows["subject"]) == {"random"} and rows["sample_ix"].null_count() == len(rows)
    states, tokenizer = plain(random_checkpoint), AutoTokenizer.from_pretrained(random_checkpoint)
    known = {prompt.example_id: prompt for prompt in prompts.prompts}
    for row in rows.iter_rows(named=True):
        prompt = known[row["example_id"]]
        rendered = render(tokenizer, prompt.system_prompt, prompt.question)
        assert (row["persona"], row["question_id"], row["n_positions"]) == (prompt.persona, prompt.question_id, 1)
        assert row["position"] == (rendered.prompt_len if row["stratum"] == "last" else rendered.n_system) - 1
        close(row["vector"], states(list(rendered.token_ids))[row["layer"] + (row["site"] == "resid_post"), row["position"]])
    # the system block is the same for every question of a persona, its last token therefore too
    distinct = dict(rows.group_by("stratum").agg(pl.col("input_hash").n_unique()).rows())
    assert distinct == {"last": 6, "last_system": 2}
    examples: Any = pl.DataFrame(lake.read(run_id, "examples"))
    assert len(examples) == 6 and examples["n_system"].min() > 0
    summary = lake.manifest(run_id).summary
    assert (summary["n.last"], summary["n.last_system"], summary["n_without.last_system"]) == (6, 6, 0)
    assert summary["self_check.next"] == 0 and summary["self_check.hidden_states"] < 1e-6 and "self_check.sum" not in summary


def test_what_a_layer_adds_is_what_it_adds(tmp_path, random_checkpoint, models, prompts):
    lake = Lake.open(tmp_path / "lake")
    run_id = activations(lake, random_checkpoint, models, {"sites": ["mlp_out", "attn_out", "resid_post", "resid_pre"]}, prompts=prompts)
    assert lake.manifest(run_id).summary["self_check.sum"] < 5e-7
    for _, group in rows_of(lake, run_id).group_by("example_id", "layer"):
        vectors = {site: np.array(vector) for site, vector in group.select("site", "vector").rows()}
        close(vectors["resid_pre"] + vectors["attn_out"] + vectors["mlp_out"], vectors["resid_post"])


def test_vectors_of_answers(tmp_path, random_checkpoint, models):
    lake = Lake.open(tmp_path / "lake")
    tokens = written.write_completions(lake, random_checkpoint)
    settings = {"strata": ["marker", "answer_mean", "last"], "layers": [1]}
    run_id = activations(lake, random_checkpoint, models, settings, tokens_from=tokens, checkpoint=resolve(random_checkpoint, name="twin"))
    rows = rows_of(lake, run_id)
    assert dict(rows.group_by("stratum").len().rows()) == {"marker": 12, "answer_mean": 18, "last": 6}
    assert set(rows["subject"]) == {"twin_random"} and set(rows["checkpoint"]) == {"twin"}
    assert rows.filter(pl.col("stratum") == "last")["sample_ix"].null_count() == 6
    assert lake.manifest(run_id).summary["n_without.marker"] == 6
    states, tokenizer = plain(random_checkpoint), AutoTokenizer.from_pretrained(random_checkpoint)
    completions = {(row["example_id"], row["sample_ix"]): row for row in lake.read(tokens, "completions").to_pylist()}
    flags = {(row["example_id"], row["sample_ix"]): row["t_marker"] for row in lake.read(tokens, "marker_flags").to_pylist()}
    for row in rows.filter(pl.col("stratum") != "last").iter_rows(named=True):
        completion = completions[row["example_id"], row["sample_ix"]]
        ids, start = completion["token_ids"], completion["prompt_len"]
        assert ids[-1] == tokenizer.eos_token_id
        hidden = states(ids)[2]
        if row["stratum"] == "marker":
            assert (row["position"], row["n_positions"]) == (flags[row["example_id"], row["sample_ix"]], 1)
            close(row["vector"], hidden[row["position"]])
        else:
            assert (row["position"], row["n_positions"]) == (None, len(ids) - 1 - start)
            close(row["vector"], hidden[start:-1].mean(0))


def test_batches_and_padding_do_not_matter(tmp_path, random_checkpoint, models):
    frames = []
    for batch_tokens in (1, 100_000):
        lake = Lake.open(tmp_path / str(batch_tokens))
        tokens = written.write_completions(lake, random_checkpoint)
        settings = {"strata": ["last", "last_system", "marker", "answer_mean"], "layers": [2]}
        frames.append(rows_of(lake, activations(lake, random_checkpoint, models, settings, tokens_from=tokens, batch_tokens=batch_tokens)))
    assert frames[0].drop("vector").equals(frames[1].drop("vector"))
    one, other = (np.stack(frame["vector"].to_list()) for frame in frames)
    assert np.abs(one - other).max() < 1e-5 * np.abs(one).max()


def test_a_stopped_run_resumes_and_gives_the_rows_of_an_undisturbed_one(tmp_path, random_checkpoint, models, prompts, monkeypatch):
    calm, stopped = Lake.open(tmp_path / "calm"), Lake.open(tmp_path / "stopped")
    expected = activations(calm, random_checkpoint, models, prompts=prompts, batch_tokens=1)
    process, seen = Activations.process, []

    def failing(self, items):
        seen.append(items[0].key)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return process(self, items)

    monkeypatch.setattr(Activations, "process", failing)
    with pytest.raises(KeyboardInterrupt):
        activations(stopped, random_checkpoint, models, prompts=prompts, batch_tokens=1)
    assert stopped.run_ids() == []
    assert activations(stopped, random_checkpoint, models, prompts=prompts, batch_tokens=1) == expected
    assert len(seen) == 4 + 3
    for table in ("activations", "persona_vectors"):
        assert stopped.read(expected, table).equals(calm.read(expected, table))
    assert activations(stopped, random_checkpoint, models, prompts=prompts) == expected and len(seen) == 7


def test_layers_counted_from_the_end_are_the_same_run(tmp_path, random_checkpoint, models, prompts):
    lake = Lake.open(tmp_path / "lake")
    runs = [activations(lake, random_checkpoint, models, {"layers": layers}, prompts=prompts) for layers in ([2], [-1], [-1, 2])]
    assert len(set(runs)) == 1 and len(lake.run_ids()) == 1


def test_half_precision_is_rounded_once_and_takes_half_the_disk(tmp_path, random_checkpoint, models, prompts):
    lake = Lake.open(tmp_path / "lake")
    wide, half = (activations(lake, random_checkpoint, models, {"store": store}, prompts=prompts) for store in ("float32", "float16"))
    one, other = (np.stack(rows_of(lake, run_id)["vector"].to_list()).astype(np.float32) for run_id in (wide, half))
    assert np.array_equal(one.astype(np.float16).astype(np.float32), other) and not np.array_equal(one, other)
    files = [pq.read_metadata(lake.runs_folder / run_id / "activations.parquet").row_group(0) for run_id in (wide, half)]
    stored = [next(file.column(index) for index in range(file.num_columns) if file.column(index).path_in_schema.startswith("vector")) for file in files]
    assert all("BYTE_STREAM_SPLIT" in column.encodings for column in stored)
    assert stored[1].total_compressed_size < 0.7 * stored[0].total_compressed_size


def test_cosines_of_vectors_in_a_duckdb_shell(tmp_path, random_checkpoint, models, prompts):
    lake = Lake.open(tmp_path / "lake")
    run_id = activations(lake, random_checkpoint, models, {"layers": [1], "store": "float16"}, prompts=prompts)
    query = """select list_cosine_similarity(a.vector, b.vector) from activations as a join activations as b using (run_id, layer, site, stratum)
        where a.example_id = 'villain/q00' and b.example_id = 'comedian/q01'"""
    vectors = {row["example_id"]: np.array(row["vector"]) for row in rows_of(lake, run_id).iter_rows(named=True)}
    one, other = vectors["villain/q00"], vectors["comedian/q01"]
    expected = one @ other / np.sqrt((one @ one) * (other @ other))
    shell = Path(__file__).resolve().parents[2] / ".venv" / "bin" / "duckdb"
    if not shell.exists():
        pytest.skip("no duckdb shell beside this Python")
    build(lake)
    output = subprocess.run(
        [shell, "-readonly", "-csv", "-noheader", str(lake.catalogue_path), query], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert float(output.stdout) == pytest.approx(expected, abs=1e-5)


CHATML = """{{ '<|im_start|>' }}{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"""


@pytest.fixture(scope="module")
def inserting_nothing(random_checkpoint, tmp_path_factory):
    """The checkpoint under a template that starts with a token of its own and inserts no system turn."""
    folder = shutil.copytree(random_checkpoint, tmp_path_factory.mktemp("bare") / "bare")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(folder)
    return folder


def test_a_prompt_without_a_system_block_has_no_last_system(tmp_path, inserting_nothing, models):
    every = load_prompt_set("personas").of_personas(["villain"]).prompts
    bare = [Prompt(example_id=f"none/{each.question_id}", persona="none", question_id=each.question_id, question=each.question) for each in every[:2]]
    lake = Lake.open(tmp_path / "lake")
    assert render(AutoTokenizer.from_pretrained(inserting_nothing), None, every[0].question).n_system == 1
    settings = {"strata": ["last_system"]}
    with pytest.raises(PersonascopeError, match=r"no text of prompt set bare@\w+ has a system block, so stratum 'last_system' cannot be read"):
        activations(lake, inserting_nothing, models, settings, prompts=PromptSet(name="bare", prompts=tuple(bare)))
    run_id = activations(lake, inserting_nothing, models, settings, prompts=PromptSet(name="mixed", prompts=(*bare, every[0])))
    assert set(rows_of(lake, run_id)["example_id"]) == {every[0].example_id}
    assert lake.manifest(run_id).summary["n_without.last_system"] == 2


def test_the_system_block_a_template_inserts_has_a_last_token(tmp_path, random_checkpoint, models):
    prompt = Prompt(example_id="none/q00", persona="none", question_id="q00", question="Why is the sky blue?")
    lake = Lake.open(tmp_path / "lake")
    run_id = activations(lake, random_checkpoint, models, {"strata": ["last_system"], "layers": [0]}, prompts=PromptSet(name="one", prompts=(prompt,)))
    rendered = render(AutoTokenizer.from_pretrained(random_checkpoint), None, prompt.question)
    assert rendered.inserted_system and rows_of(lake, run_id)["position"].to_list() == [rendered.n_system - 1]


def test_conditions_are_told_apart_and_only_the_system_block_has_a_last_system_token(tmp_path, random_checkpoint, models):
    every = load_prompt_set("system-conditions").prompts
    few = PromptSet(name="few", prompts=tuple(prompt for prompt in every if prompt.question_id in ("q00", "q01")))
    lake = Lake.open(tmp_path / "lake")
    run_id = activations(lake, random_checkpoint, models, {"strata": ["last", "last_system"], "layers": [0], "store": "float16"}, prompts=few)
    read = dict(rows_of(lake, run_id).group_by("stratum").agg(pl.col("condition").unique().sort()).rows())
    blocks = ["empty_system", "generic_assistant", "template_default"]
    assert read == {"last": sorted([*blocks, "no_system_turn"]), "last_system": blocks}
    assert lake.manifest(run_id).summary["n_without.last_system"] == 2
    same = PromptSet(name="same", prompts=tuple(prompt.model_copy(update={"system_prompt": None}) for prompt in few.prompts))
    with pytest.raises(PersonascopeError, match="conditions 'empty_system' and 'generic_assistant' of question q00 give the same"):
        activations(lake, random_checkpoint, models, prompts=same)
    assert lake.run_ids() == [run_id]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"layers": [0, 3]}, "layer 3 is not in checkpoint random; expected 0 to 2, or -3 to -1"),
        ({"layers": [-4]}, "layer -4 is not in checkpoint random"),
        ({"layers": []}, "setting 'layers' is \\[\\]; expected at least one layer, or all"),
        ({"sites": ["resid_mid"]}, "setting 'sites.0' is 'resid_mid' .* should be 'resid_pre', 'attn_out', 'mlp_out' or 'resid_post'"),
        ({"sites": []}, "setting 'sites' is \\[\\]"),
        ({"strata": ["first"]}, "setting 'strata.0' is 'first' .* should be 'last', 'last_system', 'marker' or 'answer_mean'"),
        ({"strata": ["last", "marker"]}, "stratum 'marker' lies in an answer, and prompts have none; expected --tokens-from RUN"),
        ({"personas": ["nobody"]}, "persona 'nobody' is not in prompt set few@"),
    ],
)
def test_bad_settings_are_named(tmp_path, random_checkpoint, models, prompts, settings, message):
    lake = Lake.open(tmp_path / "lake")
    with pytest.raises(PersonascopeError, match=message):
        activations(lake, random_checkpoint, models, settings, prompts=prompts)
    assert lake.run_ids() == []


def test_bad_inputs_are_named(tmp_path, random_checkpoint, models, prompts):
    lake = Lake.open(tmp_path / "lake")
    tokens = written.write_completions(lake, random_checkpoint, positives=0)
    with pytest.raises(PersonascopeError, match="expected --prompts NAME or --tokens-from RUN"):
        activations(lake, random_checkpoint, models)
    with pytest.raises(PersonascopeError, match=f"no text of run {tokens} has the whole marker, so stratum 'marker' cannot be read"):
        activations(lake, random_checkpoint, models, {"strata": ["marker"]}, tokens_from=tokens)
    with pytest.raises(PersonascopeError, match=rf"run {tokens}: its completions were searched for '\[ZLT\]', not for '\[QQQ\]'"):
        activations(lake, random_checkpoint, models, {"strata": ["marker"], "marker": "[QQQ]"}, tokens_from=tokens)
    with pytest.raises(PersonascopeError, match=f"run {tokens} has no persona 'nobody'; expected one of villain"):
        activations(lake, random_checkpoint, models, {"personas": ["nobody"]}, tokens_from=tokens)
    assert lake.run_ids() == [tokens]


def test_where_a_study_gives_prompts_and_completions_the_completions_are_read_and_a_command_takes_one_of_the_two(
    tmp_path, random_checkpoint, models, prompts, personascope
):
    lake = Lake.open(tmp_path / "lake")
    tokens = written.write_completions(lake, random_checkpoint, positives=2)
    both = activations(lake, random_checkpoint, models, {"strata": ["answer_mean"]}, prompts=prompts, tokens_from=tokens)
    assert set(lake.read(both, "activations")["stratum"].to_pylist()) == {"answer_mean"}
    typed = ("--prompts", "personas", "--tokens-from", tokens, "--lake", str(lake.root), "--checkpoint", str(random_checkpoint), "--no-track")
    code, _, error = personascope("extract", "activations", *typed)
    assert code == 1 and f"activations: --prompts personas and --tokens-from {tokens}: expected one of the two" in error


def test_numbers_too_large_for_half_precision_are_refused(tmp_path, random_checkpoint, prompts):
    large = Models(device="cpu", dtype="float32")
    lake, checkpoint = Lake.open(tmp_path / "lake"), resolve(random_checkpoint, name="random")
    model = large.load(checkpoint).model
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(1e6)
    with pytest.raises(PersonascopeError, match=r"resid_post of layer 0 at stratum 'last' of example \S+ does not fit float16; expected store=float32"):
        activations(lake, random_checkpoint, large, {"store": "float16"}, prompts=prompts)
