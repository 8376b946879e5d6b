"""Ablations: every method beside a hand-written hook on a full forward pass in float64, a scale of one that changes nothing, what else is read."""

import shutil
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import random_models
from personascope.extract.arithmetic import Arithmetic
from personascope.extract.extractors.ablations import Ablations, AblationSettings
from personascope.extract.extractors.head_methods import donor_of, shared_prefix
from personascope.extract.instruments.replay import clean_pass, clean_passes
from personascope.extract.job import Job, parts_of, run
from personascope.extract.registry import resolve_settings
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import Prompt, PromptSet
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(25)

WORDS = ("cat", "door of the house", "rain")
PROMPTS = tuple(
    Prompt(example_id=f"{form}/{word}", persona="none", question_id=word, question=f"{form.capitalize()} the word: {word}", prompt_form=form, target=word)
    for form in ("repeat", "echo")
    for word in WORDS
)
SET = PromptSet(name="words", prompts=PROMPTS)
FLOAT32 = 1e-4
WIDTH = 8


@pytest.fixture(scope="module", params=random_models.FAMILIES)
def folder(request, random_checkpoint, tmp_path_factory):
    return random_models.write(request.param, random_checkpoint, tmp_path_factory.mktemp(request.param) / "model")


def ablated(root, folder, prompts=SET, batch_tokens=4096, dtype="float32", **settings):
    """Rows of a run by example, layer, head, method and scale; the other tables; the examples; the extractor."""
    lake = Lake.open(root)
    extractor = Ablations(
        AblationSettings(**settings), Job(lake, resolve(str(folder)), Models("cpu", dtype), prompts, batch_tokens=batch_tokens, say=lambda line: None)
    )
    run_id = run(extractor)
    rows = {tuple(row[name] for name in ("example_id", "layer", "head", "method", "scale")): row for row in lake.read(run_id, "ablations").to_pylist()}
    ids = {row["example_id"]: row["token_ids"] for row in lake.read(run_id, "examples").to_pylist()}
    others = {name: lake.read(run_id, name).to_pylist() for name in ("ablation_generations", "ablation_entropies") if name in lake.manifest(run_id).tables}
    return rows, others, ids, extractor


def without(model, layer, head, replace):
    """The model with a hook that puts replace(outputs [T, D]) in the place of a head's outputs."""

    def hook(module, args):
        outputs = args[0].clone()
        outputs[0, :, head * WIDTH : (head + 1) * WIDTH] = replace(outputs[0, :, head * WIDTH : (head + 1) * WIDTH])
        return (outputs,)

    return model.model.layers[layer].self_attn.o_proj.register_forward_pre_hook(hook)


def outputs_of(model, ids, layer, head):
    kept = []
    handle = model.model.layers[layer].self_attn.o_proj.register_forward_pre_hook(
        lambda module, args: kept.append(args[0][0, :, head * WIDTH : (head + 1) * WIDTH])
    )
    model(torch.tensor([ids]))
    handle.remove()
    return kept[0]


def margin_of(logits, wanted):
    return logits[wanted] - max(float(value) for token, value in enumerate(logits) if token != wanted)


@torch.inference_mode()
def test_every_method_is_what_a_hand_written_hook_gives(folder, tmp_path):
    rows, _, ids, extractor = ablated(tmp_path, folder, methods=["zero", "mean", "resample", "scale"], scales=[0.0, 0.5, 1.0])
    assert len(rows) == len(PROMPTS) * 3 * 4 * 6
    model = random_models.exact(folder)
    members = [each for group in extractor._groups.values() for each in group]
    for target in members:
        group = [each for each in members if each.prompt_form == target.prompt_form]
        prefix = shared_prefix(group)
        assert 5 < prefix < target.position
        mine = ids[target.example_id]
        plain = model(torch.tensor([mine])).logits[0, -1]
        for layer, head in ((0, 1), (1, 3), (2, 0)):
            mean = torch.cat([outputs_of(model, each.token_ids, layer, head) for each in group]).mean(0)
            given = outputs_of(model, donor_of(target, group, 42).token_ids, layer, head)

            def resample(own, given=given, prefix=prefix):
                count = min(len(own), len(given)) - prefix
                return torch.cat([own[:-count], given[-count:]])

            methods = {
                ("zero", None): torch.zeros_like,
                ("mean", None): lambda own, mean=mean: mean.expand_as(own),
                ("resample", None): resample,
                ("scale", 0.0): torch.zeros_like,
                ("scale", 0.5): lambda own: own / 2,
                ("scale", 1.0): lambda own: own,
            }
            for (method, scale), replace in methods.items():
                row = rows[target.example_id, layer, head, method, scale]
                handle = without(model, layer, head, replace)
                found = model(torch.tensor([mine])).logits[0, -1]
                handle.remove()
                wanted = row["target_id"]
                change = found.softmax(-1) - plain.softmax(-1)
                expected = {
                    "base_logit": plain[wanted],
                    "logit": found[wanted],
                    "base_margin": margin_of(plain, wanted),
                    "margin": margin_of(found, wanted),
                    "base_prob": plain.softmax(-1)[wanted],
                    "prob": found.softmax(-1)[wanted],
                    "kl": (plain.softmax(-1) * (plain.log_softmax(-1) - found.log_softmax(-1))).sum(),
                }
                assert {name: row[name] for name in expected} == pytest.approx({name: float(value) for name, value in expected.items()}, abs=FLOAT32)
                assert (row["base_top1_id"], row["top1_id"]) == (int(plain.argmax()), int(found.argmax()))
                assert row["gained_change"] == pytest.approx(change.topk(3).values.tolist(), abs=FLOAT32) and len(row["gained"]) == 3


def test_a_scale_of_one_changes_nothing_at_all(folder, tmp_path):
    rows, others, _, _ = ablated(tmp_path, folder, methods=["scale"], scales=[1.0, 0.0], generate=6, entropies=True)
    zeroed = 0
    for (_, _, _, _, scale), row in rows.items():
        if scale == 1:
            assert (row["logit"], row["prob"], row["kl"], row["top1_id"]) == (row["base_logit"], row["base_prob"], 0, row["base_top1_id"])
            assert row["gained_change"] == [0, 0, 0]
        zeroed += scale == 0 and row["logit"] != row["base_logit"]
    assert zeroed > len(rows) / 4
    generations, entropies = others["ablation_generations"], others["ablation_entropies"]
    assert len(generations) == len(PROMPTS) * 12 * 2 and len(entropies) == len(PROMPTS) * 2 * 4 * (3 + 2 + 1)
    for row in generations:
        assert row["scale"] == 0 or (
            row["same"] and row["text"] == row["base_text"] and row["nll"] == row["base_nll"] and row["n_same"] == len(row["token_ids"])
        )
    for row in entropies:
        assert row["scale"] == 0 or row["entropy"] == row["base_entropy"]
        assert row["reader_layer"] > row["layer"] or row["entropy"] == pytest.approx(row["base_entropy"], abs=1e-6), (
            "a head's output does not move its own layer's rows"
        )
    assert sum(not row["same"] for row in generations) > 0 and sum(row["entropy"] != row["base_entropy"] for row in entropies) > 0


def test_in_half_precision_an_unchanged_row_goes_through_the_same_batch(random_checkpoint, tmp_path):
    """What a head adds is small beside what bfloat16 rounds: the rows of a head that is not there are those of the unchanged model to the last bit."""
    folder = tmp_path / "model"
    shutil.copytree(random_checkpoint, folder)
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.1.self_attn.o_proj.weight"][:, WIDTH : 2 * WIDTH] = 0
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    rows = ablated(tmp_path / "lake", folder, dtype="bfloat16", methods=["zero", "scale"], scales=[0.5])[0]
    still = [row for (_, layer, head, _, _), row in rows.items() if (layer, head) == (1, 1)]
    assert len(still) == 2 * len(PROMPTS) and all((row["logit"], row["prob"], row["kl"]) == (row["base_logit"], row["base_prob"], 0) for row in still)
    assert sum(row["logit"] != row["base_logit"] for row in rows.values()) > len(rows) / 2


@torch.inference_mode()
def test_generations_and_entropies_without_a_head_are_those_of_a_hooked_model(folder, tmp_path):
    _, others, ids, extractor = ablated(tmp_path, folder, heads=[(1, 2)], methods=["zero"], generate=6, entropies=True)
    ends = extractor.tokenizer.eos_token_id
    model = random_models.exact(folder)

    def greedy(start):
        said: list[int] = []
        while len(said) < 6 and (not said or said[-1] != ends):
            said.append(int(model(torch.tensor([[*start, *said]])).logits[0, -1].argmax()))
        return said

    def nll(start, said):
        logs = model(torch.tensor([[*start, *said]])).logits[0].log_softmax(-1)
        return -sum(float(logs[len(start) - 1 + place, token]) for place, token in enumerate(said)) / len(said)

    def entropy(start, layer):
        return float(torch.special.entr(model(torch.tensor([start]), output_attentions=True).attentions[layer]).sum(-1).mean())

    base = {name: (greedy(start), nll(start, greedy(start)), [entropy(start, layer) for layer in range(3)]) for name, start in ids.items()}
    handle = without(model, 1, 2, torch.zeros_like)
    for row in others["ablation_generations"]:
        start, (said, before, _) = ids[row["example_id"]], base[row["example_id"]]
        assert row["token_ids"] == greedy(start) and row["same"] == (said == row["token_ids"])
        assert (row["base_nll"], row["nll"]) == pytest.approx((before, nll(start, said)), abs=FLOAT32)
        assert row["n_same"] == next(
            (place for place, pair in enumerate(zip(said, row["token_ids"], strict=False)) if pair[0] != pair[1]), min(len(said), len(row["token_ids"]))
        )
    for row in others["ablation_entropies"]:
        start, layer = ids[row["example_id"]], row["reader_layer"]
        assert (row["base_entropy"], row["entropy"]) == pytest.approx((base[row["example_id"]][2][layer], entropy(start, layer)), abs=1e-5)
    handle.remove()


def test_batches_and_named_heads_give_the_rows_of_the_whole(folder, tmp_path):
    whole = ablated(tmp_path / "whole", folder)[0]
    small = ablated(tmp_path / "small", folder, batch_tokens=80)[0]
    some = ablated(tmp_path / "some", folder, heads=[{"layer": 2, "head": 1}, {"layer": 0, "head": 3}])[0]
    assert len(small) == len(whole) and {key[1:3] for key in some} == {(2, 1), (0, 3)}
    for rows in (small, some):
        for key, row in rows.items():
            assert (row["logit"], row["kl"]) == pytest.approx((whole[key]["logit"], whole[key]["kl"]), abs=FLOAT32)
            assert row["sieve"] == pytest.approx(whole[key]["sieve"], abs=FLOAT32)


class KilledError(Exception):
    """Stands for a kill: nothing catches it."""


def test_a_part_is_some_heads_of_a_layer_and_a_killed_run_goes_on_from_there(random_checkpoint, tmp_path, monkeypatch):
    whole = ablated(tmp_path / "whole", random_checkpoint)[0]
    costs = Arithmetic(3, 32, 600)
    monkeypatch.setattr("personascope.extract.extractors.ablations.PART", 5 * costs.forward(60))
    worked: list[int] = []
    process = Ablations.process

    def dying(self, items):
        worked.append(len(items))
        if len(worked) == 7:
            raise KilledError
        return process(self, items)

    monkeypatch.setattr(Ablations, "process", dying)
    with pytest.raises(KilledError):
        ablated(tmp_path / "killed", random_checkpoint)

    def counted(self, items):
        worked.append(len(items))
        return process(self, items)

    monkeypatch.setattr(Ablations, "process", counted)
    rows, _, _, extractor = ablated(tmp_path / "killed", random_checkpoint)
    parts = parts_of(extractor, extractor._slices())
    assert len(worked) == len(parts) + 1 > 12, "what was staged is not done again"
    assert sum(item.weight for part in parts for item in part) == pytest.approx(len(PROMPTS))
    assert all(len(part) == 1 or sum(map(extractor.cost, part)) <= extractor.part_cost for part in parts)
    assert rows.keys() == whole.keys()
    for key, row in rows.items():
        for name in ("logit", "prob", "kl", "sieve"):
            assert row[name] == pytest.approx(whole[key][name], abs=FLOAT32)


@torch.inference_mode()
def test_prompts_that_begin_alike_are_run_together_with_the_states_of_each_alone(folder, tmp_path):
    extractor = ablated(tmp_path, folder, heads=[(0, 0)], methods=["zero"])[3]
    members = next(iter(extractor._groups.values()))
    sequences = [(*members[0].token_ids[:8], *range(10 + number, 14 + number + number // 2)) for number in range(4)]
    for found, sequence in zip(clean_passes(extractor._components, sequences, 8), sequences, strict=True):
        alone = clean_pass(extractor._components, sequence)
        for one, other in ((found.states, alone.states), (found.heads, alone.heads), ((found.final,), (alone.final,))):
            assert len(one) == len(other)
            for mine, expected in zip(one, other, strict=True):
                assert mine.shape == expected.shape
                assert float((mine - expected).abs().max()) < FLOAT32


@torch.inference_mode()
def test_the_estimate_is_the_slope_of_the_target_as_the_head_fades(folder, tmp_path):
    rows, _, ids, _ = ablated(tmp_path, folder, methods=["zero"])
    model, step = random_models.exact(folder), 3e-3  # norms stay in float32, whose round-off a smaller step would blow up
    for layer, head in ((0, 0), (1, 2), (2, 3)):
        row = rows["echo/rain", layer, head, "zero", None]
        ends = []
        for scale in (1 - step, 1 + step):
            handle = without(model, layer, head, lambda own, scale=scale: own * scale)
            ends.append(float(model(torch.tensor([ids["echo/rain"]])).logits[0, -1][row["target_id"]]))
            handle.remove()
        assert row["sieve"] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-3)
    assert all(row["sieve"] is not None for row in rows.values())


def test_heads_come_from_a_file_too(random_checkpoint, tmp_path):
    path = tmp_path / "heads.csv"
    path.write_text("layer,head\n1,2\n0,3\n")
    settings: Any = resolve_settings(Ablations, {"command line": {"heads": str(path)}})[0]
    assert settings.heads == [(1, 2), (0, 3)]
    path.write_text("layer,kopf\n1,2\n")
    with pytest.raises(PersonascopeError, match=r"setting 'heads' is .*expected the columns layer and head, found layer, kopf"):
        resolve_settings(Ablations, {"command line": {"heads": str(path)}})
    with pytest.raises(PersonascopeError, match=r"none\.csv: no such file"):
        resolve_settings(Ablations, {"command line": {"heads": str(tmp_path / "none.csv")}})


@pytest.mark.parametrize(
    ("settings", "prompts", "message"),
    [
        ({"heads": []}, SET, "names no head; expected at least one pair"),
        ({"heads": [(3, 0)]}, SET, "layer 3, head 0 is not in checkpoint .*; expected layers 0 to 2 and heads 0 to 3"),
        ({"methods": ["scale"], "scales": []}, SET, "'scales' is .*expected at least one factor"),
        ({}, PromptSet(name="one", prompts=PROMPTS[:1]), "resample takes another prompt of the same wording"),
    ],
)
def test_what_cannot_be_ablated_is_refused(random_checkpoint, tmp_path, settings, prompts, message):
    with pytest.raises(PersonascopeError, match=message):
        ablated(tmp_path, random_checkpoint, prompts, **settings)


def test_without_a_target_the_first_choice_of_the_unchanged_model_is_read(random_checkpoint, tmp_path):
    free = PromptSet(name="free", prompts=tuple(each.model_copy(update={"target": None}) for each in PROMPTS))
    rows = ablated(tmp_path, random_checkpoint, free, methods=["zero"])[0]
    assert all(row["target_id"] == row["base_top1_id"] and row["target"] is None for row in rows.values())
