"""Entropy of attention rows beside float64 rows and eager attention, both ways of reading, and the runs the extractor writes."""

import math
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from personascope.extract.extractors import entropy as entropy_module
from personascope.extract.extractors.entropy import Entropy, EntropySettings
from personascope.extract.instruments import attention_calls as rows_module
from personascope.extract.instruments import row_entropy
from personascope.extract.instruments.attention_calls import LayerCall, attention_implementation, reading
from personascope.extract.instruments.attention_readout import exact_rows
from personascope.extract.instruments.row_entropy import FIGURES, can_fuse, check_fused, direct_entropy, fused_entropy, read_entropy
from personascope.extract.job import Job, run
from personascope.extract.registry import parse_assignments, resolve_settings
from personascope.extract.texts.chat import render
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import Prompt, PromptSet, load_prompt_set
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_seed
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(20)

FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "qwen2": ("qwen2", {}),
    "llama-mqa": ("llama", {"num_key_value_heads": 1}),
    "llama-mha": ("llama", {"num_key_value_heads": 4}),
    "mistral-window": ("mistral", {"sliding_window": 5}),
    "mistral-wide-window": ("mistral", {"sliding_window": 60}),
    "gemma2": ("gemma2", {"sliding_window": 5, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 3}),
    "gpt2": ("gpt2", {"n_embd": 32, "n_layer": 3, "n_head": 4, "scale_attn_by_inverse_layer_idx": True}),
}
FUSED = ("qwen2", "llama-mqa", "llama-mha", "mistral-wide-window", "gpt2")
LENGTHS = (21, 9, 2, 1)
WIDTH = max(LENGTHS)


def tiny(name):
    family, changes = FAMILIES[name]
    torch.manual_seed(stable_seed(family) % 2**31)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}
    rest = {"vocab_size": 101, "max_position_embeddings": 64, "initializer_range": 0.4, "pad_token_id": 0}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **(shape | rest | changes)), dtype=torch.float32).eval()


@pytest.fixture(params=FAMILIES)
def model(request):
    return tiny(request.param)


def batch():
    """input_ids [B, T] padded on the right, lengths [B]; among them a prompt of two tokens and one of a single token."""
    generator, lengths = torch.Generator().manual_seed(7), torch.tensor(LENGTHS)
    return torch.randint(1, 101, (len(LENGTHS), WIDTH), generator=generator) * (torch.arange(WIDTH) < lengths[:, None]), lengths


def figures_of(rows, lengths):
    """FIGURES [B, L, H, 9] of full rows [B, L, H, T, T] by plain loops, from the definitions."""
    values = np.full((*rows.shape[:3], len(FIGURES)), np.nan)
    for b, layer, head in np.ndindex(*rows.shape[:3]):
        matrix, n = rows[b, layer, head].double().numpy(), int(lengths[b])
        whole = [sum(-p * math.log(p) for p in matrix[query] if p > 0) for query in range(n)]
        without = {query: matrix[query, 1:] / matrix[query, 1:].sum() for query in range(1, n)}
        behind = {query: sum(-p * math.log(p) for p in row if p > 0) for query, row in without.items()}
        windows = [range(n), range(min(3, n)), range(max(0, n - 3), n), range(n - 1, n)]
        means = [np.mean([whole[query] for query in window]) for window in windows]
        no_sink = [[behind[query] for query in window if query] for window in windows]
        sink = [matrix[query, 0] for query in range(1, n)]
        values[b, layer, head] = [*means, *(np.mean(found) if found else np.nan for found in [sink, *no_sink])]
    return torch.from_numpy(values)


def calls_of(model, input_ids, lengths):
    calls: list[Any] = []
    real = torch.arange(input_ids.shape[1]) < lengths[:, None]
    with reading(model, calls.append), torch.inference_mode():
        model.get_decoder()(input_ids, use_cache=False)
    return sorted(calls, key=lambda call: call.layer), real


def close(found, expected, tolerance):
    torch.testing.assert_close(found.double(), expected.double(), rtol=0, atol=tolerance, equal_nan=True)


def test_direct_figures_equal_a_float64_softmax(model):
    input_ids, lengths = batch()
    calls, real = calls_of(model, input_ids, lengths)
    rows = torch.stack([exact_rows(call, real)[0] for call in calls], dim=1)
    readout = read_entropy(model, input_ids, lengths, fuse=False)
    assert readout.values.dtype == torch.float32 and readout.paths == ("direct",) * 3
    close(readout.values, figures_of(rows, lengths), 1e-6)


def test_direct_figures_equal_eager_attention(model):
    input_ids, lengths = batch()
    with attention_implementation(model, "eager"), torch.inference_mode():
        rows = torch.stack(model.get_decoder()(input_ids, output_attentions=True, use_cache=False).attentions, dim=1)
    close(read_entropy(model, input_ids, lengths, fuse=False).values, figures_of(rows, lengths), 2e-5)


@pytest.mark.parametrize("name", FUSED)
def test_fused_figures_equal_a_float64_softmax(name):
    model, (input_ids, lengths) = tiny(name), batch()
    calls, real = calls_of(model, input_ids, lengths)
    rows = torch.stack([exact_rows(call, real)[0] for call in calls], dim=1)
    readout = read_entropy(model, input_ids, lengths, fuse=True)
    assert readout.paths == ("fused",) * 3
    close(readout.values, figures_of(rows, lengths), 1e-5)
    assert check_fused(model) < 1e-5


@pytest.mark.parametrize("name", ["mistral-window", "gemma2"])
def test_windows_and_soft_caps_are_read_in_blocks_where_the_rest_is_fused(name):
    model, (input_ids, lengths) = tiny(name), batch()
    readout = read_entropy(model, input_ids, lengths, fuse=True)
    assert readout.paths == ("direct",) * 3
    assert torch.equal(readout.values.nan_to_num(), read_entropy(model, input_ids, lengths, fuse=False).values.nan_to_num())


def test_layers_are_fused_one_by_one(monkeypatch):
    """As in models that have a sliding window in some layers only."""
    model, (input_ids, lengths) = tiny("qwen2"), batch()
    monkeypatch.setattr(row_entropy, "can_fuse", lambda call: call.layer == 1)
    readout = read_entropy(model, input_ids, lengths, fuse=True)
    assert readout.paths == ("direct", "fused", "direct")
    close(readout.values, read_entropy(model, input_ids, lengths, fuse=False).values, 1e-5)


def test_the_block_decides_nothing(model, monkeypatch):
    input_ids, lengths = batch()
    whole = read_entropy(model, input_ids, lengths, fuse=False).values
    for scores in (1, len(LENGTHS) * 4 * WIDTH * 5):
        monkeypatch.setattr(rows_module, "_BLOCK_SCORES", scores)
        close(read_entropy(model, input_ids, lengths, fuse=False).values, whole, 1e-6)


@pytest.mark.parametrize("fuse", [False, True])
def test_batch_and_padding_decide_nothing(model, fuse):
    input_ids, lengths = batch()
    together = read_entropy(model, input_ids, lengths, fuse).values
    alone = [read_entropy(model, row[None, :n], torch.tensor([n]), fuse).values for row, n in zip(input_ids, LENGTHS, strict=True) if n > 1 or not fuse]
    close(together[: len(alone)], torch.cat(alone), 1e-5)


def sharp(scale, length=40):
    """A call whose first key takes nearly all of every row: logits differ by up to several times `scale`."""
    generator = torch.Generator().manual_seed(3)
    query, key = torch.randn(1, 4, length, 8, generator=generator), torch.randn(1, 2, length, 8, generator=generator)
    key[:, :, 0] = 0
    query[..., 0], key[:, :, 0, 0] = 3, scale
    return LayerCall(0, query, key, None, 1.0, None, None)


@pytest.mark.parametrize(("scale", "share"), [(8, 0.999), (100, 1.0)])
@pytest.mark.parametrize(("way", "tolerance"), [(direct_entropy, 1e-10), (fused_entropy, 2e-5)])
def test_a_sink_that_takes_everything_costs_no_digits(way, tolerance, scale, share):
    """At scale 100 the other keys hold exp(-300) of the row: what is left when the first is taken away is still exact."""
    call = sharp(scale)
    exact, _ = exact_rows(call, torch.ones(1, 40, dtype=torch.bool))
    scores = (call.query.double() @ call.key.double().repeat_interleave(2, 1).mT)[..., 1:]
    seen = torch.ones(40, 39, dtype=torch.bool).tril(-1)
    behind = torch.special.entr(scores.masked_fill(~seen, -torch.inf).softmax(-1)).sum(-1)
    found = way(call)
    assert found.sink[..., 1:].median() >= share
    close(found.sink, exact[..., 0], 1e-6)
    close(found.entropy, torch.special.entr(exact).sum(-1), tolerance)
    close(found.no_sink[..., 1:], behind[..., 1:], tolerance)
    assert found.no_sink[..., 0].isnan().all() and (found.entropy[..., 0] == 0).all()


def test_no_square_of_the_length_is_made():
    """Neither way makes [heads, T, T] of a text of 4096 tokens; the fused way makes nothing longer than its keys."""
    call = LayerCall(0, torch.randn(1, 4, 4096, 8), torch.randn(1, 2, 4096, 8), None, 0.3, None, None)
    for way, most in ((fused_entropy, 4 * 4096 * 8 * 4), (direct_entropy, 8 << 22)):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            found = way(call)
        assert 0 < max(event.self_cpu_memory_usage for event in profile.events()) <= most + (1 << 20)
    close(found.entropy, fused_entropy(call).entropy, 1e-5)


def test_fused_rows_that_differ_are_refused(monkeypatch):
    monkeypatch.setitem(row_entropy._KERNELS, "cpu", lambda query, key, scale: row_entropy._fused_on_cpu(query, key, scale * 1.01))
    with pytest.raises(PersonascopeError, match=r"the fused entropy of Qwen2ForCausalLM \(family qwen2\) is off by .* nats, expected at most 1e-04"):
        check_fused(tiny("qwen2"))


def test_only_plain_causal_layers_are_fused():
    call = sharp(1)
    assert can_fuse(call)
    assert not can_fuse(LayerCall(0, call.query, call.key, torch.ones(1, 1, 40, 40, dtype=torch.bool), 1.0, None, 5))
    assert not can_fuse(LayerCall(0, call.query, call.key, None, 1.0, 2.0, None))


def test_what_does_not_fit_is_refused():
    model, (input_ids, lengths) = tiny("qwen2"), batch()
    with pytest.raises(PersonascopeError, match="row 3 has 0 tokens, expected at least 1"):
        read_entropy(model, input_ids, torch.tensor([21, 9, 2, 0]), fuse=False)
    with pytest.raises(PersonascopeError, match=f"a row is {WIDTH + 1} tokens long"):
        read_entropy(model, input_ids, lengths + 1, fuse=False)
    model.config.num_attention_heads = 5
    with pytest.raises(PersonascopeError, match=r"attends with 4 heads in layer 0, expected 5 heads in layers 0\.\.2"):
        read_entropy(model, input_ids, lengths, fuse=False)


@pytest.fixture(scope="module")
def models():
    return Models(device="cpu", dtype="float32")


@pytest.fixture
def few():
    return PromptSet(name="few", prompts=tuple(prompt for prompt in load_prompt_set("role-focus").prompts if prompt.question_id in ("q00", "q12")))


def extract(lake, checkpoint, models, prompts, batch_tokens=8192, **settings):
    job = Job(lake=lake, checkpoint=resolve(checkpoint, name="random"), models=models, prompts=prompts, batch_tokens=batch_tokens, say=lambda line: None)
    return run(Entropy(EntropySettings(**settings), job))


@pytest.mark.parametrize("form", ["raw", "chat"])
def test_a_run_reads_every_head_of_every_prompt(tmp_path, random_checkpoint, models, few, form):
    lake = Lake.open(tmp_path / "lake")
    run_id = extract(lake, random_checkpoint, models, few, form=form)
    rows = pl.DataFrame(lake.read(run_id, "entropy"))
    assert rows.select("example_id", "layer", "head").n_unique() == rows.height == 8 * 3 * 4
    assert rows["form"].unique().to_list() == [form] and set(rows["category"]) == {"self_referent", "confounder", "neutral", "third_person"}
    summary = lake.manifest(run_id).summary
    assert (summary["n_layers"], summary["n_heads"], summary["form"], summary["share_fused"]) == (3, 4, form, 0)
    tokenizer, model = models.tokenizer(resolve(random_checkpoint)), AutoModelForCausalLM.from_pretrained(random_checkpoint, attn_implementation="eager")
    for prompt in few.prompts:
        ids = list(render(tokenizer, None, prompt.question).token_ids) if form == "chat" else tokenizer.encode(prompt.question)
        with torch.no_grad():
            attentions = torch.stack(model(torch.tensor([ids]), output_attentions=True).attentions, dim=1)
        mine = rows.filter(pl.col("example_id") == prompt.example_id).sort("layer", "head")
        assert mine["n_positions"].unique().to_list() == [len(ids)]
        close(torch.from_numpy(mine.select(FIGURES).to_numpy().copy()), figures_of(attentions, [len(ids)])[0].flatten(0, 1), 2e-5)
    means = Warehouse(lake).select("select mean, mean_no_sink, n_heads from entropy_mean where layer = 1 order by example_id")
    expected = rows.filter(pl.col("layer") == 1).group_by("example_id").agg(pl.col("mean", "mean_no_sink").mean()).sort("example_id")
    assert means["n_heads"].to_list() == [4] * 8
    for name in ("mean", "mean_no_sink"):
        assert means[name].to_list() == pytest.approx(expected[name].to_list(), abs=1e-6)


def test_batch_and_kernel_decide_nothing_in_a_run(tmp_path, random_checkpoint, models, few):
    """Long and short prompts in one batch go their own ways."""
    prompts = PromptSet(name="mixed", prompts=(*few.prompts, Prompt(example_id="long/q0", persona="none", question_id="q0", question="so " * 40)))
    stored, ids = [], []
    for number, (batch_tokens, fused_from) in enumerate([(1, 4096), (100_000, 4096), (100_000, 30)]):
        lake = Lake.open(tmp_path / str(number))
        ids.append(extract(lake, random_checkpoint, models, prompts, batch_tokens, form="raw", fused_from=fused_from))
        stored.append(pl.DataFrame(lake.read(ids[-1], "entropy")).sort("example_id", "layer", "head"))
    assert ids[0] == ids[1] != ids[2]
    for each in stored[1:]:
        close(torch.tensor(each.select(FIGURES).to_numpy()), torch.tensor(stored[0].select(FIGURES).to_numpy()), 1e-5)
    assert stored[2].filter(pl.col("path") == "fused")["example_id"].unique().to_list() == ["long/q0"]
    assert 0 < lake.manifest(ids[2]).summary["share_fused"] < 1
    assert lake.manifest(ids[2]).summary["self_check.fused_vs_direct"] < 1e-5


@pytest.mark.parametrize("typed", [[], ["form=auto"], ["form=[raw, chat]"]])
def test_the_form_is_said(typed):
    with pytest.raises(PersonascopeError, match=r"entropy: setting 'form' is .*expected raw or chat.*has to be said"):
        resolve_settings(Entropy, {"command line": parse_assignments(typed)})


def test_raw_and_chat_are_different_runs(tmp_path, random_checkpoint, models, few):
    lake = Lake.open(tmp_path / "lake")
    assert extract(lake, random_checkpoint, models, few, form="raw") != extract(lake, random_checkpoint, models, few, form="chat")


def test_prompts_that_cannot_be_read_are_named(tmp_path, random_checkpoint, models, few):
    lake = Lake.open(tmp_path / "lake")
    with pytest.raises(PersonascopeError, match="entropy: no prompt set"):
        extract(lake, random_checkpoint, models, None, form="raw")
    system = PromptSet(name="one", prompts=(few.prompts[0].model_copy(update={"system_prompt": "Be brief."}),))
    with pytest.raises(PersonascopeError, match=r"example confounder/q00 has a system message, which form=raw has no place for"):
        extract(lake, random_checkpoint, models, system, form="raw")
    empty = PromptSet(name="one", prompts=(few.prompts[0].model_copy(update={"question": ""}),))
    with pytest.raises(PersonascopeError, match=r"the question of example confounder/q00 gives no token"):
        extract(lake, random_checkpoint, models, empty, form="raw")


def test_heads_that_were_not_read_stop_the_run(tmp_path, random_checkpoint, models, few, monkeypatch):
    original = Entropy.process

    def fewer(self, items):
        found: Any = original(self, items)["entropy"]
        return {"entropy": found.filter(np.asarray(found["head"]) < 3)}

    monkeypatch.setattr(Entropy, "process", fewer)
    with pytest.raises(PersonascopeError, match="72 rows of 8 prompts were read; expected 96, one for each of the 3 layers and 4 heads"):
        extract(Lake.open(tmp_path / "lake"), random_checkpoint, models, few, form="raw")


def test_an_entropy_that_is_no_number_is_named(tmp_path, random_checkpoint, models, few, monkeypatch):
    def broken(*arguments):
        readout = read_entropy(*arguments)
        readout.values[0, 2, 1] = torch.nan
        return readout

    monkeypatch.setattr(entropy_module, "read_entropy", broken)
    with pytest.raises(PersonascopeError, match=r"layer 2, head 1 of example \w+/q\d\d gives no finite entropy"):
        extract(Lake.open(tmp_path / "lake"), random_checkpoint, models, few, form="raw")
