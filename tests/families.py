"""Small random models of many families, what every extractor makes of them, and the page docs/families.md that says so.

Not a test module: loaded by name, since `tests` is on the path. `python tests/families.py` writes the page.
"""

import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from personascope.extract.instruments.attention_readout import self_check
from personascope.extract.job import Job, run
from personascope.extract.registry import extractor, resolve_settings
from personascope.extract.texts.chat import render
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import Prompt, PromptSet
from personascope.ingest.weights.checkpoints import Checkpoint, resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

PAGE = Path(__file__).resolve().parent.parent / "docs" / "families.md"
WORKS = "yes"
VOCABULARY = 300  # of random models
SHAPE: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 512}
GROUPED: dict[str, Any] = SHAPE | {"num_key_value_heads": 2, "head_dim": 8}
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
NO_THOUGHTS = "{% if enable_thinking is defined and not enable_thinking %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
THINKING = CHATML.removesuffix("{% endif %}") + NO_THOUGHTS + "{% endif %}"
DATED = (
    "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
    "{{ '<|im_start|>system\nToday Date: ' + date_string + '\n\n' }}"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% set messages = messages[1:] %}{% endif %}{{ '<|im_end|>\n' }}" + CHATML
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML


class Family(NamedTuple):
    """How a small model of a family is made, and the chat template that goes with it (None: it has none)."""

    config: Mapping[str, Any]
    template: str | None = CHATML
    model_type: str | None = None


FAMILIES: dict[str, Family] = {
    "llama": Family(GROUPED),
    "llama (template with a date)": Family(GROUPED, DATED, "llama"),
    "mistral (window, no system role)": Family(GROUPED | {"sliding_window": 12}, NO_SYSTEM, "mistral"),
    "mixtral": Family(GROUPED | {"num_local_experts": 4}),
    "qwen2": Family(GROUPED),
    "qwen2_moe": Family(GROUPED | {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts_per_tok": 2}),
    "qwen3 (query norms, thinking tags)": Family(GROUPED, THINKING, "qwen3"),
    "qwen3_next (linear attention)": Family(
        GROUPED
        | {"num_experts": 4, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_experts_per_tok": 2, "num_hidden_layers": 4}
        | {"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
        model_type="qwen3_next",
    ),
    "gemma": Family(GROUPED, None),
    "gemma2 (soft caps, windows)": Family(GROUPED | {"sliding_window": 12, "query_pre_attn_scalar": 8}, None, "gemma2"),
    "gemma3 (query norms, windows, two rope bases)": Family(
        GROUPED | {"sliding_window": 12, "query_pre_attn_scalar": 8, "num_hidden_layers": 6}, None, "gemma3_text"
    ),
    "phi (parallel branches)": Family(GROUPED, model_type="phi"),
    "phi3": Family(GROUPED),
    "olmo2 (norms after branches)": Family(GROUPED, model_type="olmo2"),
    "granite (multipliers)": Family(
        GROUPED | {"embedding_multiplier": 12.0, "residual_multiplier": 0.22, "attention_multiplier": 0.125, "logits_scaling": 8.0}, model_type="granite"
    ),
    "cohere (scaled logits)": Family(GROUPED, model_type="cohere"),
    "starcoder2": Family(GROUPED),
    "stablelm": Family(GROUPED),
    "opt": Family(SHAPE | {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "gpt2": Family(SHAPE),
    "gpt_neox": Family(SHAPE),
    "bloom": Family(SHAPE),
    "mpt": Family(SHAPE),
    "gptj": Family(SHAPE | {"rotary_dim": 4}),
}
WORDS = ("cat", "door", "rain")
PROMPTS = PromptSet(
    name="words",
    prompts=tuple(Prompt(example_id=word, persona="none", question_id=word, question=f"Say the following word: {word}", target=word) for word in WORDS),
)
EXTRACTORS: dict[str, dict[str, Any]] = {
    "completions": {"max_new_tokens": 3, "samples": 1},
    "logit_lens": {},
    "attributions": {},
    "ablations": {"heads": [[1, 0], [2, 3]]},
    "patches": {},
    "activations": {"strata": ["last"], "sites": ["resid_pre", "attn_out", "mlp_out", "resid_post"]},
    "entropy": {},
    "steering": {"max_new_tokens": 3, "modes": ["add", "project_out", "cap"], "doses": [0.5]},
}
COLUMNS = ("personas", *EXTRACTORS, "attention")


def random_model(name: str = "llama", dtype: torch.dtype = torch.float32) -> Any:
    """A model of a family with VOCABULARY tokens, the same at every call."""
    family = FAMILIES[name]
    ids = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    config = AutoConfig.for_model(family.model_type or name, **family.config, **ids, vocab_size=VOCABULARY, initializer_range=0.2)
    torch.manual_seed(5)
    try:
        return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    except ValueError:  # a family without SDPA
        return AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="eager").eval()


def write(name: str, source: Path, folder: Path) -> Path:
    """A random model of the family with the tokenizer of `source` and the family's template, in `folder`."""
    family = FAMILIES[name]
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.chat_template = family.template
    ids = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = AutoConfig.for_model(family.model_type or name, **family.config, **ids, vocab_size=len(tokenizer), initializer_range=0.2)
    torch.manual_seed(5)
    AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def outcomes(name: str, source: Path, place: Path) -> dict[str, str]:
    """What every column says of a family: WORKS, or the sentence of its refusal; anything else is raised."""
    checkpoint = resolve(write(name, source, place / "model"), name="model")
    form = "chat" if FAMILIES[name].template else "raw"
    attention = "sdpa"
    try:
        Models("cpu").load(checkpoint)
    except PersonascopeError as error:
        assert str(error).endswith("type --attention eager."), error
        attention = "eager"
    models = Models("cpu", attention=attention)
    found = {"personas": _told(lambda: render(models.tokenizer(checkpoint), "You are a librarian.", "Hello there"))}
    for each in EXTRACTORS:
        found[each] = _told(_prepared(each, form, checkpoint, models, Lake.open(place / "lake")))
    found["attention"] = _told(lambda: self_check(models.load(checkpoint).model))
    return {"": "eager" if attention == "eager" else "", **{column: _same_everywhere(text, checkpoint.path) for column, text in found.items()}}


def _same_everywhere(text: str, folder: Path) -> str:
    """A sentence without what depends on the machine: the folder, and by how much a reading is off."""
    return re.sub(r"off by [-+.\de]+", "off by much more than rounding", text.replace(str(folder), "the model"))


def _prepared(name: str, form: str, checkpoint: Checkpoint, models: Models, lake: Lake) -> Callable[[], object]:
    """The extractor with its settings, ready to run."""
    kind = extractor(name)
    known = {"form": form} if "form" in kind.settings_type.model_fields else {}
    settings, parameters = resolve_settings(kind, {"command line": {**known, **EXTRACTORS[name]}})
    donor = checkpoint if name == "patches" else None
    if name == "steering":
        _write_directions(lake, checkpoint)
    job = Job(lake, checkpoint, models, PROMPTS, donor=donor, parameters=parameters, say=lambda line: None)
    return lambda: run(kind(settings, job))


def reads_outputs_of_layers(place: Path) -> bool:
    """Whether `activations` reads the output of a layer, its default, of the model that `outcomes` made in `place`."""
    checkpoint = resolve(place / "model", name="model")
    settings, parameters = resolve_settings(extractor("activations"), {"command line": {"strata": ["last"]}})
    job = Job(Lake.open(place / "outputs"), checkpoint, Models("cpu", attention="eager"), PROMPTS, parameters=parameters, say=lambda line: None)
    return _told(lambda: run(extractor("activations")(settings, job))) == WORKS


def _write_directions(lake: Lake, checkpoint: Checkpoint) -> None:
    """A direction and a control to steer along, in the middle of the model."""
    vectors = np.random.default_rng(0).normal(size=(2, checkpoint.d_model)).astype(np.float32).tolist()
    rows = [
        {"direction": each, "layer": 1, "site": "resid_post", "kind": each, "norm": 1.0, "vector": vector}
        for each, vector in zip(("file", "random"), vectors, strict=True)
    ]
    writer = lake.start(RunSpec(kind="extract", extractor="directions", version=1, identity={}, checkpoint=checkpoint.name))
    if writer is not None:
        with writer:
            writer.write_part("rows", {"directions": rows})
            writer.commit()


def _told(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except PersonascopeError as error:
        return str(error)
    return WORKS


def page(table: Mapping[str, Mapping[str, str]]) -> str:
    """The page that shows the outcomes; refusals are numbered, and told below the table."""
    notes: list[str] = []

    def cell(text: str) -> str:
        if text == WORKS:
            return "✓"
        if text not in notes:
            notes.append(text)
        return f"no ({notes.index(text) + 1})"

    rows = ["| " + " | ".join([name + (" †" if found[""] else ""), *(cell(found[column]) for column in COLUMNS)]) + " |" for name, found in table.items()]
    return "\n".join(
        [
            "# Families of models",
            "",
            "What extractors do with a small model of each family, with random weights, in the installed transformers: ✓ works, a number says why",
            "it is refused (below). A test makes every model, runs the extractors over it and compares the table with this page: nothing ends in a traceback.",
            "`capability` and `preflight` need what `completions` needs, `features`, `train-sae`, `directions` and `projections` what `activations` needs.",
            "`activations` is asked for all four sites here: notes that speak of what attention and MLP add, or of `mlp_out`, do not hold for the output of a",
            "layer, which is the default and is read of these families too.",
            "A family without a chat template is read in raw form, where the extractor has one. What was read is compared with the model's own output before",
            "a row is written.",
            "",
            "| family | " + " | ".join("a persona as system prompt" if column == "personas" else f"`{column}`" for column in COLUMNS) + " |",
            "|---" * (len(COLUMNS) + 1) + "|",
            *rows,
            "",
            "† transformers has no SDPA attention for it: `--attention eager`.",
            "",
            *(f"{number}. {note}" for number, note in enumerate(notes, 1)),
            "",
        ]
    )


def read_page() -> dict[str, dict[str, str]]:
    """The table of the page as it stands: what `outcomes` said of every family."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    notes = dict(line.split(". ", 1) for line in lines if line[:1].isdigit())
    table = {}
    for line in lines:
        name, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
        if name.removesuffix(" †") in FAMILIES:
            texts = [WORKS if cell == "✓" else notes[cell.removeprefix("no (").removesuffix(")")] for cell in cells]
            table[name.removesuffix(" †")] = {"": "eager" if name.endswith("†") else "", **dict(zip(COLUMNS, texts, strict=True))}
    return table


def tokenizer_source(folder: Path) -> Path:
    """A folder with a small tokenizer that knows the tags of the templates."""
    from personascope.ingest.tiny.tokenizer import train_tokenizer
    from personascope.ingest.tiny.world import EVALUATION_QUESTIONS, PERSONAS

    texts = [persona.system_prompt for persona in PERSONAS] + [" ".join([question.text, *question.answer]) for question in EVALUATION_QUESTIONS]
    train_tokenizer([*texts, "Say the following word: cat door rain <think> </think>"] * 3, 600).save_pretrained(folder)
    return folder


def main() -> None:
    """Write the page; names of families typed after the command are only shown."""
    with tempfile.TemporaryDirectory() as scratch:
        source = tokenizer_source(Path(scratch) / "tokenizer")
        table = {}
        for number, name in enumerate(name for name in FAMILIES if not sys.argv[1:] or name in sys.argv[1:]):
            table[name] = outcomes(name, source, Path(scratch) / str(number))
            shutil.rmtree(Path(scratch) / str(number))
            print(name, {column: text for column, text in table[name].items() if text != WORKS}, file=sys.stderr)
        if sys.argv[1:]:
            return
        PAGE.write_text(page(table), encoding="utf-8")


if __name__ == "__main__":
    main()
