"""Every family of models under every extractor: it works or is refused by name, as docs/families.md says, and what works is what the model itself gives."""

import pytest
import torch
from transformers import AutoModelForCausalLM

import families
from families import FAMILIES, WORKS
from personascope.extract.weights.loading import load_model
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return families.tokenizer_source(tmp_path_factory.mktemp("families") / "tokenizer")


def test_the_page_names_every_family():
    assert families.read_page().keys() == FAMILIES.keys()
    assert families.page(families.read_page()) == families.PAGE.read_text(encoding="utf-8")


@pytest.mark.slow(30)
@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_does_what_the_page_says(name, source, tmp_path):
    found = families.outcomes(name, source, tmp_path)
    assert found == families.read_page()[name]
    assert found["activations"] == WORKS or "chat template" in found["activations"] or families.reads_outputs_of_layers(tmp_path)
    if found["logit_lens"] != WORKS:
        return
    lake = Lake.open(tmp_path / "lake")
    (run_id,) = (run for run in lake.run_ids() if run.startswith("logit_lens"))
    examples = {row["example_id"]: row["token_ids"] for row in lake.read(run_id, "examples").to_pylist()}
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32).eval()
    for row in lake.read(run_id, "predictions").to_pylist():
        with torch.inference_mode():
            logits = model(torch.tensor([examples[row["example_id"]]])).logits[0, -1]
        assert logits[row["top1_id"]] >= logits.max() - 1e-4


def test_where_sdpa_is_missing_the_option_is_named_whole(source, tmp_path):
    with pytest.raises(PersonascopeError, match=r"is of the family bloom, for which transformers has no SDPA attention: type --attention eager\.$"):
        load_model(resolve(families.write("bloom", source, tmp_path / "model")), device="cpu")
