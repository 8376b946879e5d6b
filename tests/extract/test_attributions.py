"""Direct attribution: the parts sum to the logit, each part beside its own definition in float64, post-norms and layer norms included."""

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

import random_models
from personascope.extract.extractors.attributions import Attributions, contributions
from personascope.extract.extractors.targets import TargetSettings
from personascope.extract.instruments.attention_readout import right_padded, run_decoder
from personascope.extract.instruments.components import capturing_heads, find_components
from personascope.extract.instruments.residual import Site, capturing
from personascope.extract.job import Job, run
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import Prompt, PromptSet
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow

WORDS = ("cat", "door", "marmalade")
SET = PromptSet(
    name="words", prompts=tuple(Prompt(example_id=word, persona="none", question_id=word, question=f"Say the word {word}", target=word) for word in WORDS)
)
FAMILIES, tiny = (runpy.run_path(str(Path(__file__).with_name("test_residual.py")))[name] for name in ("FAMILIES", "tiny"))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_parts_sum_to_the_logits_in_every_family(family):
    name, changes = FAMILIES[family]
    model = tiny(name, **changes)
    components = find_components(model)
    lengths = torch.tensor([14, 9])
    ids = torch.randint(1, 101, (2, 14), generator=torch.Generator().manual_seed(3))
    real, positions, tokens = right_padded(lengths, 14), (lengths - 1)[:, None], torch.tensor([[5, 90], [17, 2]])
    sites: list[Site] = ["resid_pre", "attn_out", "mlp_out", "resid_post"]
    with torch.inference_mode(), capturing_heads(components, positions) as heads, capturing(components.stream.blocks, range(3), sites, positions) as capture:
        run_decoder(model, ids, real)
    with torch.inference_mode():
        parts, values = contributions(components, capture, heads, tokens)
        expected = torch.stack([model(row[None, :length]).logits[0, -1] for row, length in zip(ids, lengths, strict=True)])
    if components.softcap:
        expected = components.softcap * torch.atanh(expected / components.softcap)
    assert len(parts) == values.shape[-1] == 2 + 3 * (4 + 2)
    assert torch.allclose(values.sum(-1), expected.gather(1, tokens), atol=1e-4 * float(values.abs().max()))
    assert float(values[..., [name == "head" for _, name, _ in parts]].abs().min()) > 0


@pytest.fixture(scope="module", params=random_models.FAMILIES)
def rows(request, random_checkpoint, tmp_path_factory):
    folder = random_models.write(request.param, random_checkpoint, tmp_path_factory.mktemp(request.param) / "model")
    lake = Lake.open(folder.parent / "lake")
    run_id = run(Attributions(TargetSettings(), Job(lake, resolve(str(folder)), Models("cpu"), SET, say=lambda line: None)))
    return folder, *(lake.read(run_id, name).to_pylist() for name in ("attributions", "predictions", "examples"))


@torch.inference_mode()
def test_each_part_is_what_its_definition_says(rows):
    """The final norm's scale is that of the whole residual; a head writes its slice of the output projection. By hooks in float64, layer 1."""
    folder, attributions, predictions, examples = rows
    model = random_models.exact(folder)
    kept: dict[str, Any] = {}
    layer = model.model.layers[1]
    layer.self_attn.o_proj.register_forward_pre_hook(lambda module, args: kept.update(z=args[0][0, -1]))
    layer.mlp.register_forward_hook(lambda module, args, output: kept.update(mlp=output[0, -1]))
    for example, predicted in zip(*(sorted(each, key=lambda row: row["example_id"]) for each in (examples, predictions)), strict=True):
        out = model(torch.tensor([example["token_ids"]]), output_hidden_states=True, output_attentions=True)
        norm = model.model.norm
        before: dict[str, Any] = {}
        handle = norm.register_forward_pre_hook(lambda module, args, before=before: before.update(x=args[0][0, -1]))
        model(torch.tensor([example["token_ids"]]))
        handle.remove()
        frozen = norm.weight / (before["x"].square().mean() + norm.variance_epsilon).sqrt()
        logits = out.logits[0, -1]
        target = predicted["target_id"]
        rival = next(token for token in logits.topk(2).indices.tolist() if token != target)
        read = {"direct": model.lm_head.weight[target] * frozen, "direct_margin": (model.lm_head.weight[target] - model.lm_head.weight[rival]) * frozen}
        mine = {(row["layer"], row["component"], row["head"]): row for row in attributions if row["example_id"] == example["example_id"]}
        assert len(mine) == 2 + 3 * 6
        for name, direction in read.items():
            assert mine[1, "mlp", None][name] == pytest.approx(float(kept["mlp"] @ direction), abs=1e-4)
            assert mine[None, "embedding", None][name] == pytest.approx(float(out.hidden_states[0][0, -1] @ direction), abs=1e-4)
            for head in range(4):
                written = layer.self_attn.o_proj.weight[:, head * 8 : head * 8 + 8] @ kept["z"][head * 8 : head * 8 + 8]
                assert mine[1, "head", head][name] == pytest.approx(float(written @ direction), abs=1e-4)
        assert sum(row["direct"] for row in mine.values()) == pytest.approx(float(logits[target]), abs=1e-4)
        assert sum(row["direct_margin"] for row in mine.values()) == pytest.approx(float(logits[target] - logits[rival]), abs=1e-4)
        assert predicted["logit_error"] < 1e-4
        for head in range(4):
            row = out.attentions[1][0, head, -1]
            entropy = float(torch.special.entr(row).sum())
            assert (mine[1, "head", head]["bos"], mine[1, "head", head]["entropy"]) == pytest.approx((float(row[0]), entropy), abs=1e-5)
        assert mine[1, "mlp", None]["bos"] is None


def test_a_model_whose_heads_cannot_be_told_apart_is_refused():
    model = tiny("llama", num_key_value_heads=2)
    model.model.layers[1].self_attn.o_proj = torch.nn.Sequential(model.model.layers[1].self_attn.o_proj, torch.nn.Tanh())
    with pytest.raises(PersonascopeError, match="no output projection of 4 heads at the end of the attention of layer 1"):
        find_components(model)
