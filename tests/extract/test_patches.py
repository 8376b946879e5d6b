"""Patching: every site beside a hand-written hook on a full forward pass in float64, a model patched with itself, everything patched, and who may give."""

import pytest
import torch

import random_models
from personascope.extract.extractors.patches import Patches, PatchSettings
from personascope.extract.job import Job, run
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import Prompt, PromptSet
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(15)

SITES = ("resid_pre", "attn_out", "mlp_out", "resid_post", "head")
WORDS = ("cat", "door", "rain")


def prompt_set(target=True):
    prompts = [
        Prompt(
            example_id=f"{form}/{word}",
            persona="none",
            question_id=word,
            question=f"{form.capitalize()} the following word, please: {word}",
            prompt_form=form,
            target=word if target else None,
        )
        for form in ("repeat", "echo")
        for word in WORDS
    ]
    return PromptSet(name="words", prompts=tuple(prompts))


@pytest.fixture(scope="module", params=random_models.FAMILIES)
def pair(request, random_checkpoint, tmp_path_factory):
    """Two random checkpoints of one shape."""
    folder = tmp_path_factory.mktemp(request.param)
    return [random_models.write(request.param, random_checkpoint, folder / name, seed) for name, seed in (("one", 1), ("two", 2))]


def patched(lake, folder, donor=None, *, prompts=None, batch_tokens=4096, **settings):
    job = Job(lake, resolve(str(folder)), Models("cpu"), prompts or prompt_set(), batch_tokens=batch_tokens, say=lambda line: None)
    job.donor = resolve(str(donor)) if donor else None
    extractor = Patches(PatchSettings(**settings), job)
    rows = lake.read(run(extractor), "patches").to_pylist()
    return {(row["example_id"], row["layer"], row["site"], row["head"]): row for row in rows}


def hooked_logits(folder, donor, ids, layer, site, head, source=None):
    """Logits of the last step when the piece is the donor's, and the donor's own; by plain hooks on full forward passes in float64."""
    kept = {}
    models = {name: random_models.exact(path) for name, path in (("base", folder), ("donor", donor))}

    def module(model):
        block = model.model.layers[layer]
        return {"attn_out": block.self_attn, "mlp_out": block.mlp, "head": block.self_attn.o_proj}.get(site, block)

    def first(value):
        return value[0] if isinstance(value, tuple) else value

    def keep_input(_, args, kwargs):
        kept["vector"] = (args[0] if args else kwargs["hidden_states"])[0, -1].clone()

    def keep_output(_, args, output):
        kept["vector"] = first(output)[0, -1].clone()

    def put(value):
        value = value.clone()
        if site == "head":
            value[0, -1, head * 8 : (head + 1) * 8] = kept["vector"][head * 8 : (head + 1) * 8]
        else:
            value[0, -1] = kept["vector"]
        return value

    def change_input(_, args, kwargs):
        return ((put(args[0]), *args[1:]), kwargs) if args else (args, kwargs | {"hidden_states": put(kwargs["hidden_states"])})

    def change_output(_, args, output):
        return (put(output[0]), *output[1:]) if isinstance(output, tuple) else put(output)

    of_input = site in ("resid_pre", "head")
    with torch.inference_mode():
        give = module(models["donor"])
        handle = give.register_forward_pre_hook(keep_input, with_kwargs=True) if of_input else give.register_forward_hook(keep_output)
        given = models["donor"](torch.tensor([source or ids])).logits[0, -1]
        handle.remove()
        take = module(models["base"])
        plain = models["base"](torch.tensor([ids])).logits[0, -1]
        take.register_forward_pre_hook(change_input, with_kwargs=True) if of_input else take.register_forward_hook(change_output)
        return models["base"](torch.tensor([ids])).logits[0, -1], plain, given


def test_every_site_is_what_a_hand_written_hook_gives(pair, tmp_path):
    one, two = pair
    lake = Lake.open(tmp_path)
    rows = patched(lake, one, two, sites=list(SITES))
    assert len(rows) == 6 * 3 * (4 + 4)
    (run_id,) = [manifest.run_id for manifest in lake.manifests()]
    ids = {row["example_id"]: row["token_ids"] for row in lake.read(run_id, "examples").to_pylist()}
    for layer, site, head in [(0, "resid_pre", None), (1, "attn_out", None), (2, "mlp_out", None), (1, "resid_post", None), (0, "head", 3), (2, "head", 1)]:
        row = rows["echo/door", layer, site, head]
        found, plain, given = hooked_logits(one, two, ids["echo/door"], layer, site, head)
        target = row["target_id"]
        expected = {
            "base_logit": plain[target],
            "donor_logit": given[target],
            "logit": found[target],
            "base_prob": plain.softmax(-1)[target],
            "donor_prob": given.softmax(-1)[target],
            "prob": found.softmax(-1)[target],
            "kl": (given.softmax(-1) * (given.log_softmax(-1) - found.log_softmax(-1))).sum(),
            "base_kl": (given.softmax(-1) * (given.log_softmax(-1) - plain.log_softmax(-1))).sum(),
        }
        assert {name: row[name] for name in expected} == pytest.approx({name: float(value) for name, value in expected.items()}, rel=1e-4, abs=1e-4)
        way = float(given[target] - plain[target])
        assert row["restored"] == pytest.approx(float(found[target] - plain[target]) / way, abs=1e-3 / abs(way))
        assert row["top1_id"] == int(found.argmax()) and (row["donor"], row["direction"]) == ("two", "one")


def test_a_model_patched_with_its_own_activations_stays_as_it_is(pair, tmp_path):
    for row in patched(Lake.open(tmp_path), pair[0], pair[0], sites=list(SITES)).values():
        assert row["logit"] == pytest.approx(row["base_logit"], abs=2e-5) and row["kl"] == pytest.approx(0, abs=1e-6) and row["restored"] is None


def test_the_last_residual_of_the_donor_is_the_donor(pair, tmp_path, random_checkpoint):
    """The unembeddings differ, so a checkpoint is patched by the other wording of its own prompts."""
    rows = patched(Lake.open(tmp_path), pair[0], donor_form="echo", sites=["resid_post"])
    assert {row["donor"] for row in rows.values()} == {"echo"} and {row["prompt_form"] for row in rows.values()} == {"repeat"}
    for (_, layer, _, _), row in rows.items():
        assert layer < 2 or (row["logit"], row["restored"], row["kl"]) == pytest.approx((row["donor_logit"], 1, 0), abs=1e-4)


def test_a_donor_is_of_the_same_category_where_categories_number_their_questions_alike(random_checkpoint, tmp_path):
    folder, lake = random_models.write("qwen2", random_checkpoint, tmp_path / "one"), Lake.open(tmp_path / "lake")
    asked = [(category, form) for category in ("plain", "polite") for form in ("repeat", "echo")]
    prompts = PromptSet(
        name="kinds",
        prompts=tuple(
            Prompt(
                example_id=f"{category}/{form}/q1",
                persona="none",
                category=category,
                question_id="q1",
                prompt_form=form,
                question=f"{form.capitalize()} this {'word' if category == 'plain' else 'lovely word, dear'}: cat",
                target="cat",
            )
            for category, form in asked
        ),
    )
    there, back = (patched(lake, folder, prompts=prompts, donor_form=form, sites=["resid_post"], layers=[0]) for form in ("echo", "repeat"))
    for category in ("plain", "polite"):
        found, donor = there[f"{category}/repeat/q1", 0, "resid_post", None], back[f"{category}/echo/q1", 0, "resid_post", None]
        assert found["donor_logit"] == pytest.approx(donor["base_logit"], abs=1e-4)


def test_how_prompts_pair_belongs_to_the_run_where_the_question_alone_does_not_tell(random_checkpoint, tmp_path):
    folder, lake = random_models.write("qwen2", random_checkpoint, tmp_path / "one"), Lake.open(tmp_path / "lake")

    def identity(second: str) -> dict:
        rows = [("plain", form, "q1") for form in ("repeat", "echo")] + [("polite", form, second) for form in ("repeat", "echo")]
        prompts = PromptSet(
            name="kinds",
            prompts=tuple(
                Prompt(example_id="/".join(row), persona="none", category=row[0], prompt_form=row[1], question_id=row[2], question=" ".join(row), target="cat")
                for row in rows
            ),
        )
        job = Job(lake, resolve(str(folder)), Models("cpu"), prompts, say=lambda line: None)
        return Patches(PatchSettings(donor_form="echo"), job).spec().identity

    assert "paired" not in identity("q2") and identity("q1")["paired"] == "within categories"


def test_small_batches_give_the_same_rows(pair, tmp_path):
    whole = patched(Lake.open(tmp_path / "whole"), *pair, sites=["resid_post", "head"])
    small = patched(Lake.open(tmp_path / "small"), *pair, sites=["resid_post", "head"], batch_tokens=64)
    for key, row in whole.items():
        assert small[key]["logit"] == pytest.approx(row["logit"], abs=1e-4)


def test_without_a_target_the_donors_first_choice_is_asked_for(pair, tmp_path):
    rows = patched(Lake.open(tmp_path), *pair, prompts=prompt_set(target=False), sites=["resid_post"])
    for row in rows.values():
        assert row["target"] is None and row["donor_logit"] > row["base_logit"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "0 donors are given; expected one of --donor"),
        ({"donor_form": "echo", "donor_condition": "c1"}, "2 donors are given"),
        ({"donor_condition": "c1"}, "no prompt has the condition 'c1'; expected prompts with a condition, which these have not"),
        ({"donor_form": "shout"}, "no prompt has the prompt_form 'shout'; expected one of echo, repeat"),
        ({"donor_form": "echo", "layers": [3]}, "layer 3 is not in checkpoint one; expected 0 to 2"),
    ],
)
def test_what_cannot_be_patched_is_refused(random_checkpoint, tmp_path, settings, message):
    folder = random_models.write("qwen2", random_checkpoint, tmp_path / "one")
    with pytest.raises(PersonascopeError, match=message):
        patched(Lake.open(tmp_path / "lake"), folder, **settings)


def test_a_donor_of_another_shape_is_refused(random_checkpoint, tmp_path, monkeypatch):
    folder = random_models.write("qwen2", random_checkpoint, tmp_path / "one")
    monkeypatch.setitem(random_models.SHAPE, "num_hidden_layers", 2)
    other = random_models.write("qwen2", random_checkpoint, tmp_path / "two")
    with pytest.raises(PersonascopeError, match="donor two has n_layers 2, but one has 3; expected two checkpoints of one shape"):
        patched(Lake.open(tmp_path / "lake"), folder, other)
