"""Conditions of the system prompt: how each is rendered, and the gate that refuses two that give the same tokens."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from personascope.extract.extractors.entropy import Entropy, EntropySettings
from personascope.extract.job import Job
from personascope.extract.texts.chat import render
from personascope.extract.texts.conditions import check_conditions
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import NO_SYSTEM_TURN, Prompt, PromptSet
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

chat = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_chat.py"))))
CONDITIONS = {"template_default": None, "generic_assistant": chat.SYSTEM, "empty_system": "", "no_system_turn": NO_SYSTEM_TURN}
# Llama 3.2 writes a system turn with the date also where no message is given.
DATED = (
    "{% if messages[0].role == 'system' %}{% set text = messages[0].content %}{% set talk = messages[1:] %}{% else %}{% set text = '' %}"
    "{% set talk = messages %}{% endif %}{{ bos_token }}<|start_header_id|>system<|end_header_id|>\n\nyou are default.\n\n{{ text }}<|eot_id|>"
    "{% for m in talk %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)


def rendered(tokenizer, conditions):
    for question_id, question in {"q00": chat.USER, "q01": "hello there"}.items():
        for condition in conditions:
            system = CONDITIONS[condition]
            prompt = Prompt(
                example_id=f"none/{condition}/{question_id}",
                persona="none",
                condition=condition,
                question_id=question_id,
                question=question,
                system_prompt=system,
            )
            yield prompt, render(tokenizer, system, question)


@pytest.mark.parametrize(
    ("template", "before"), [(chat.CHATML, ""), (chat.LLAMA3, "<s>"), (DATED, "<s>"), (chat.GEMMA, "<s>"), (chat.MISTRAL, "<s>"), (chat.PHI3, "")]
)
def test_no_system_turn_leaves_the_users_turn_and_the_header(template, before):
    tokenizer = chat.tokenizer_with(template)
    bare, default = render(tokenizer, NO_SYSTEM_TURN, chat.USER), render(tokenizer, None, chat.USER)
    assert bare.text.startswith(before) and "system" not in bare.text and "default" not in bare.text and "<no" not in bare.text
    assert tokenizer.decode(bare.token_ids[: bare.n_system]) == before
    assert (bare.n_user, bare.n_header) == (default.n_user, default.n_header)
    assert bare.token_ids[bare.n_system :] == default.token_ids[default.n_system :]
    assert not bare.inserted_system


@pytest.mark.parametrize("template", [chat.MISTRAL, chat.FOLDED])
def test_an_empty_text_folded_into_the_users_turn_is_no_system_block(template):
    tokenizer = chat.tokenizer_with(template)
    prompt = render(tokenizer, "", chat.USER)
    assert tokenizer.decode(prompt.token_ids[: prompt.n_system]) == "<s>"
    assert prompt.text == tokenizer.apply_chat_template(
        [{"role": "system", "content": ""}, {"role": "user", "content": chat.USER}], tokenize=False, add_generation_prompt=True
    )


def test_four_conditions_of_a_template_with_a_default_are_told_apart():
    tokenizer = chat.tokenizer_with(chat.CHATML)
    default, generic, empty, none = check_conditions(list(rendered(tokenizer, CONDITIONS)), tokenizer)
    assert default.startswith("condition template_default: no system message is given and the template inserts a system turn by itself; ")
    assert "'<|im_start|>', 'system'" in default and "' default'" in default
    assert generic.startswith(f"condition generic_assistant: a system message of {len(chat.SYSTEM)} characters is given; ")
    assert empty.startswith("condition empty_system: an empty system message is given and the template writes a system turn for it; 5 tokens ")
    assert none == "condition no_system_turn: no system turn is written; 0 tokens before the user's turn"


@pytest.mark.parametrize(
    ("template", "conditions", "message"),
    [
        (
            chat.LLAMA3,
            ("template_default", "generic_assistant", "no_system_turn"),
            r"conditions 'template_default' and 'no_system_turn' of question q00 give the same \d+ tokens, expected different ones: under 'template_default' "
            r"no system message is given and the template inserts none, under 'no_system_turn' no system turn is written; \d+ tokens \['<s>', ",
        ),
        (
            DATED,
            ("template_default", "empty_system"),
            r"under 'template_default' no system message is given and the template inserts a system turn by itself, under 'empty_system' an empty system "
            r"message is given and the template writes a system turn for it; .*' default'",
        ),
        (
            chat.CHATML.replace("messages[0].role == 'system'", "messages[0].role == 'system' and messages[0].content"),
            ("empty_system", "template_default"),
            r"conditions 'empty_system' and 'template_default' of question q00 give the same",
        ),
        (
            chat.MISTRAL.replace("and system is defined", "and system"),
            ("empty_system", "no_system_turn"),
            r"under 'empty_system' an empty system message is given and the template drops it, under 'no_system_turn' no system turn is written",
        ),
    ],
)
def test_conditions_that_give_the_same_tokens_are_refused(template, conditions, message):
    tokenizer = chat.tokenizer_with(template)
    with pytest.raises(PersonascopeError, match=message):
        check_conditions(list(rendered(tokenizer, conditions)), tokenizer)


def test_one_condition_and_none_are_not_compared():
    tokenizer = chat.tokenizer_with(chat.CHATML)
    assert check_conditions(list(rendered(tokenizer, ["no_system_turn"])), tokenizer) == []
    twice = [(prompt.model_copy(update={"condition": None}), text) for prompt, text in rendered(tokenizer, ["no_system_turn", "no_system_turn"])]
    assert check_conditions(twice, tokenizer) == []


def test_personas_that_give_the_same_tokens_are_refused():
    tokenizer = chat.tokenizer_with(chat.CHATML)
    both = [
        (prompt.model_copy(update={"persona": persona, "condition": None}), text)
        for persona in ("villain", "librarian")
        for prompt, text in rendered(tokenizer, ["template_default"])
    ]
    with pytest.raises(
        PersonascopeError, match=r"personas 'villain' and 'librarian' give the same \d+ tokens for question q00, .*is there a column system_prompt"
    ):
        check_conditions(both, tokenizer)
    assert check_conditions(both[:2], tokenizer) == []


def test_personas_that_give_the_same_tokens_are_refused_by_extractors_that_read_prompts(tmp_path, random_checkpoint):
    prompts = [Prompt(example_id=f"{persona}/q", persona=persona, question_id="q", question="Who?") for persona in ("villain", "librarian")]
    job = Job(Lake.open(tmp_path), resolve(random_checkpoint), Models(device="cpu"), prompts=PromptSet(name="two", prompts=tuple(prompts)))
    with pytest.raises(PersonascopeError, match=r"entropy: personas 'villain' and 'librarian' give the same .* is there a column system_prompt"):
        Entropy(EntropySettings(form="chat"), job).prepare()
