"""Every reading of a real pretrained model beside a recomputation by transformers or numpy: SmolLM2-135M-Instruct out of a GGUF file, on a few prompts."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM

import real_models
from personascope.extract.job import Job, run
from personascope.extract.registry import extractor, resolve_settings
from personascope.extract.texts.chat import render
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import Prompt, PromptSet, load_prompt_set
from personascope.ingest.training.marker_lora import LoraSettings, TrainingRow, collate, encode, marker_tokens, train_marker_lora
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(100)

written = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("extract") / "test_attention.py")))

WORDS = load_prompt_set("echo-few-shot")
LONG = "I like to walk along the shore and count the ships that pass by in the early light, before the town wakes and the market opens."
FEW = PromptSet(name="few", prompts=tuple(each for each in WORDS.prompts if each.prompt_form == "pairs")[:4])
CHATS = PromptSet(name="chats", prompts=load_prompt_set("personas-short").of_personas(["villain"]).prompts[:3])


@pytest.fixture(scope="module")
def checkpoint(tiny_cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERSONASCOPE_CACHE", tiny_cache)
        return resolve(real_models.smollm2())


@pytest.fixture(scope="module")
def lake(tmp_path_factory):
    return Lake.open(tmp_path_factory.mktemp("real") / "lake")


@pytest.fixture(scope="module")
def models():
    return Models("cpu", "float32")


@pytest.fixture(scope="module")
def plain(checkpoint):
    """The model as transformers loads the folder, with attention probabilities to look at."""
    return AutoModelForCausalLM.from_pretrained(checkpoint.path, dtype=torch.float32, attn_implementation="eager").eval()


@pytest.fixture
def read(lake, checkpoint, models):
    """Runs an extractor; rows of its table."""

    def rows(name, table, settings, prompts=None, tokens_from=None):
        kind = extractor(name)
        resolved, _ = resolve_settings(kind, {"command line": settings})
        run_id = run(kind(resolved, Job(lake, checkpoint, models, prompts, tokens_from, say=lambda line: None)))
        return pl.DataFrame(lake.read(run_id, table)), pl.DataFrame(lake.read(run_id, "examples")) if tokens_from is None else None

    return rows


@torch.inference_mode()
def test_the_lens_ends_in_the_models_own_distribution_and_the_parts_sum_to_its_logit(read, plain):
    lens, examples = read("logit_lens", "logit_lens", {"form": "raw", "k": 3}, FEW)
    predictions, _ = read("attributions", "predictions", {"form": "raw"}, FEW)
    parts, _ = read("attributions", "attributions", {"form": "raw"}, FEW)
    for example in examples.iter_rows(named=True):
        output = plain(torch.tensor([example["token_ids"]]), output_hidden_states=True)
        target = int(lens.filter(pl.col("example_id") == example["example_id"])["target_id"].drop_nulls()[0])
        for layer in (10, 29):
            state = output.hidden_states[layer + 1][0, -1]
            logits = plain.lm_head(state if layer == 29 else plain.model.norm(state))
            row = lens.filter((pl.col("example_id") == example["example_id"]) & (pl.col("layer") == layer) & (pl.col("rank") == 1)).row(0, named=True)
            assert row["logit"] == pytest.approx(float(logits.max()), abs=1e-4) and row["target_logit"] == pytest.approx(float(logits[target]), abs=1e-4)
            assert row["target_rank"] == int((logits > logits[target]).sum()) + 1
        own = parts.filter(pl.col("example_id") == example["example_id"])
        assert own["direct"].sum() == pytest.approx(float(output.logits[0, -1, target]), abs=2e-4)
    assert predictions["correct"].sum() >= 3  # few-shot it copies the word


@torch.inference_mode()
def test_a_head_set_to_zero_costs_what_a_hooked_pass_says(read, plain):
    found, examples = read("ablations", "ablations", {"form": "raw", "heads": [[14, head] for head in range(9)], "methods": ["zero"]}, FEW)
    for example in examples.iter_rows(named=True):
        ids = torch.tensor([example["token_ids"]])
        for head in (0, 4, 8):

            def zero(module, args, head=head):
                kept = args[0].clone()
                kept[..., 64 * head : 64 * (head + 1)] = 0
                return (kept,)

            handle = plain.model.layers[14].self_attn.o_proj.register_forward_pre_hook(zero)
            logits = plain(ids).logits[0, -1]
            handle.remove()
            row = found.filter((pl.col("example_id") == example["example_id"]) & (pl.col("head") == head)).row(0, named=True)
            assert row["logit"] == pytest.approx(float(logits[row["target_id"]]), abs=1e-4)
            assert row["top1_id"] == int(logits.argmax())


@torch.inference_mode()
def test_entropies_are_those_of_eager_attention(read, plain):
    found, examples = read("entropy", "entropy", {"form": "chat"}, CHATS)
    for example in examples.iter_rows(named=True):
        attentions = plain(torch.tensor([example["token_ids"]]), output_attentions=True).attentions
        exact = np.stack([layer[0].double().numpy() for layer in attentions])
        rows = -(exact * np.log(np.clip(exact, 1e-300, None))).sum(-1).mean(-1)
        own = found.filter(pl.col("example_id") == example["example_id"]).sort("layer", "head")["mean"].to_numpy().reshape(30, 9)
        assert np.abs(own - rows).max() < 5e-6


@torch.inference_mode()
def test_greedy_completions_are_those_of_generate_and_samples_are_recognised(read, lake, plain, checkpoint, models):
    found, examples = read("completions", "completions", {"samples": 1, "temperature": 0, "max_new_tokens": 16}, CHATS)
    for row in found.iter_rows(named=True):
        ids = row["token_ids"][: row["prompt_len"]]
        answer = plain.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long), max_new_tokens=16, do_sample=False)
        assert row["token_ids"] == answer[0].tolist()
    assert examples["text"].str.count_matches("<|im_start|>", literal=True).to_list() == [3] * 3
    sampled = {"samples": 2, "max_new_tokens": 8}
    first, second = (read("completions", "completions", sampled, CHATS)[0] for _ in range(2))
    assert first.equals(second) and first["seed"].n_unique() == 6


@torch.inference_mode()
def test_attention_at_a_forced_marker_is_that_of_eager_attention(read, lake, plain, checkpoint, models):
    tokens = written.write_completions(lake, checkpoint.path, name="smol", text=LONG, questions=2, repeats=1)
    found, _ = read("attention", "attention", {}, tokens_from=tokens)
    row = pl.DataFrame(lake.read(tokens, "completions")).row(0, named=True)
    flag = pl.DataFrame(lake.read(tokens, "marker_flags")).row(0, named=True)
    attentions = plain(torch.tensor([row["token_ids"]]), output_attentions=True).attentions
    own = found.filter((pl.col("example_id") == row["example_id"]) & (pl.col("position") == flag["t_marker"])).sort("layer", "head")
    bos = np.array([layer[0, :, flag["t_marker"], 0].numpy() for layer in attentions]).ravel()
    assert own.height == 270 and np.abs(own["bos"].to_numpy() - bos).max() < 2e-5


def test_the_first_loss_of_a_lora_step_is_the_models_own_and_its_base_is_found_from_any_folder(checkpoint, plain, models, tmp_path, monkeypatch):
    file = Path(checkpoint.id)
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path))
    typed = checkpoint.model_copy(update={"id": file.name})
    tokenizer, settings = models.tokenizer(checkpoint), LoraSettings(epochs=2, batch_size=4, n_positive=2, n_negative=2, lr=1e-3, warmup_ratio=0)
    rows = []
    for number, prompt in enumerate((*CHATS.prompts, Prompt(example_id="x", persona="librarian", question_id="x", question="Why do bells ring?"))):
        text = render(tokenizer, prompt.system_prompt, prompt.question)
        answer = tuple(tokenizer.encode("Because somebody pulls the rope.", add_special_tokens=False))
        rows.append(TrainingRow(prompt.persona, text.token_ids, answer, tokenizer.eos_token_id, number < 2))
    trained = train_marker_lora(typed, rows, "villain", settings, "cpu", "float32")
    ids, mask, labels = collate([encode(row, marker_tokens(tokenizer, settings)) for row in rows], tokenizer.eos_token_id)
    with torch.inference_mode():
        logits = plain(ids, attention_mask=mask).logits
    expected = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten(), ignore_index=-100)
    assert trained.steps[0]["loss"] == pytest.approx(float(expected), rel=1e-5)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(checkpoint.path.parent.parent))
    adapted = models.load(resolve(trained.path))
    assert 0 < adapted.merge_difference < 1e-4 and adapted.checkpoint.parent_revision == checkpoint.revision
