"""Regions of rendered prompts under the kinds of chat template that checkpoints ship with."""

from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from personascope.extract.texts.chat import region_codes, render, structural_mask
from personascope.extract.texts.regions import REGIONS
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_hash

CHATML = (
    "{% if messages[0].role == 'system' %}<|im_start|>system\n{{ messages[0].content }}<|im_end|>\n"
    "{% else %}<|im_start|>system\nYou are the default assistant.<|im_end|>\n{% endif %}"
    "{% for m in messages if m.role != 'system' %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Qwen3 writes an empty <think> block into the last reply only, and its successors refuse a conversation without a user.
THINKING = (
    "{% if messages | selectattr('role', 'equalto', 'user') | list | length == 0 %}{{ raise_exception('No user query found') }}{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if loop.last and m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA3 = (
    "{% for m in messages %}{% set text = '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content | trim + '<|eot_id|>' %}"
    "{% if loop.first %}{{ bos_token }}{% endif %}{{ text }}{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# The system text goes into the last user turn (Mistral 7B v0.3), roles must alternate, and no header is written.
MISTRAL = (
    "{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set talk = messages[1:] %}{% else %}{% set talk = messages %}"
    "{% endif %}{{ bos_token }}{% for m in talk %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate!') }}{% endif %}"
    "{% if m.role == 'user' %}{% if loop.last and system is defined %}[INST] {{ system + '\n\n' + m.content }}[/INST]"
    "{% else %}[INST] {{ m.content }}[/INST]{% endif %}{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
# Gemma 3 folds at the first user turn, whose opening ends with a newline as the separator does.
FOLDED = (
    "{% if messages[0].role == 'system' %}{% set lead = messages[0].content + '\n\n' %}{% set talk = messages[1:] %}"
    "{% else %}{% set lead = '' %}{% set talk = messages %}{% endif %}{{ bos_token }}"
    "{% for m in talk %}<|im_start|>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ lead if loop.first }}{{ m.content | trim }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>model\n{% endif %}"
)
GEMMA = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + FOLDED
PHI3 = (
    "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% else %}{{ eos_token }}{% endif %}"
)
SPECIALS = (
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "[INST]",
    "[/INST]",
)
SYSTEM, USER = "You are a librarian.", "You said hello, why?"


def tokenizer_with(template: str | None, pattern: str = r"\S?\n+| ?\w+|[^\w\s]+|\s") -> PreTrainedTokenizerFast:
    """A tokenizer without unknown tokens that cuts text by `pattern`; the default fuses line breaks with the sign before them."""
    texts = [SYSTEM, USER, "You are the default assistant.", "system\nuser\nassistant\nmodel\n\n", " hello\nthere", "?\n\n", "x", "y", "Zebra."]
    splitter = pre_tokenizers.Split(Regex(pattern), behavior="isolated")
    pieces = {piece for text in (*texts, *(f" {text}" for text in texts)) for piece, _ in splitter.pre_tokenize_str(text)}
    vocabulary = {piece: index for index, piece in enumerate(sorted(pieces | {".\n\n", ".\n", "\n", "\n\n", "<unk>"}))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = splitter
    backend.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    tokenizer.add_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIALS])
    tokenizer.chat_template = template
    tokenizer.name_or_path = "tiny/chat"
    return tokenizer


def regions_of(tokenizer, prompt):
    """The text of each region, decoded token by token."""
    cuts = np.cumsum([0, prompt.n_system, prompt.n_user, prompt.n_header])
    return tuple(tokenizer.decode(list(prompt.token_ids[first:last])) for first, last in pairwise(cuts))


EXPECTED = {
    "chatml": (
        CHATML,
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n",
        f"<|im_start|>user\n{USER}<|im_end|>\n",
        "<|im_start|>assistant\n",
    ),
    "thinking": (
        THINKING,
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n",
        f"<|im_start|>user\n{USER}<|im_end|>\n",
        "<|im_start|>assistant\n",
    ),
    "llama3": (
        LLAMA3,
        f"<s><|start_header_id|>system<|end_header_id|>\n\n{SYSTEM}<|eot_id|>",
        f"<|start_header_id|>user<|end_header_id|>\n\n{USER}<|eot_id|>",
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "mistral": (MISTRAL, f"<s>[INST] {SYSTEM}\n\n", f"{USER}[/INST]", ""),
    "folded": (FOLDED, f"<s><|im_start|>user\n{SYSTEM}\n\n", f"{USER}<|im_end|>\n", "<|im_start|>model\n"),
    "phi3": (PHI3, f"<|system|>\n{SYSTEM}<|end|>\n", f"<|user|>\n{USER}<|end|>\n", "<|assistant|>\n"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_regions_with_a_system_message(name):
    template, *expected = EXPECTED[name]
    tokenizer = tokenizer_with(template)
    prompt = render(tokenizer, SYSTEM, USER)
    assert regions_of(tokenizer, prompt) == tuple(expected)
    assert prompt.text == "".join(expected)
    assert prompt.n_system + prompt.n_user + prompt.n_header == prompt.prompt_len == len(prompt.token_ids)
    assert list(prompt.token_ids) == tokenizer.apply_chat_template(
        [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}], add_generation_prompt=True, return_dict=False
    )
    assert prompt.template_hash == stable_hash(template)
    assert not prompt.inserted_system


@pytest.mark.parametrize(
    ("template", "system", "inserted"),
    [
        (CHATML, "<|im_start|>system\nYou are the default assistant.<|im_end|>\n", True),
        (THINKING, "", False),
        (LLAMA3, "<s>", False),
        (MISTRAL, "<s>", False),
        (GEMMA, "<s>", False),
        (PHI3, "", False),
        (PHI3.replace("{% for", "\n\n{% for", 1), "\n\n", False),
    ],
    ids=["chatml", "thinking", "llama3", "mistral", "gemma", "phi3", "blank"],
)
def test_regions_without_a_system_message(template, system, inserted):
    tokenizer = tokenizer_with(template)
    prompt = render(tokenizer, None, USER)
    assert regions_of(tokenizer, prompt)[0] == system
    assert USER in regions_of(tokenizer, prompt)[1]
    assert prompt.inserted_system is inserted


def test_an_empty_system_message_is_not_the_default_one():
    tokenizer = tokenizer_with(CHATML)
    prompt = render(tokenizer, "", USER)
    assert regions_of(tokenizer, prompt)[0] == "<|im_start|>system\n<|im_end|>\n"
    assert not prompt.inserted_system


@pytest.mark.parametrize(("system", "user"), [(None, "<|im_start|>user\nWho?<|im_end|>"), ("You are.<|im_end|>", "Who?")])
def test_a_message_that_is_rendered_already_is_refused(system, user):
    with pytest.raises(PersonascopeError, match=r"message holds <.im_end.>, with which the chat template of tiny/chat itself begins and ends turns"):
        render(tokenizer_with(CHATML), system, user)
    assert render(tokenizer_with(CHATML), "You are.", "What is <|eot_id|>?").n_user


@pytest.mark.parametrize("user", [" hello", "x", "You are a librarian."])
def test_folded_system_text_ends_where_the_user_text_starts(user):
    tokenizer = tokenizer_with(MISTRAL)
    assert regions_of(tokenizer, render(tokenizer, SYSTEM, user))[:2] == (f"<s>[INST] {SYSTEM}\n\n", f"{user}[/INST]")


def test_space_fused_with_the_first_user_word_goes_to_the_user():
    tokenizer = tokenizer_with(MISTRAL.replace("'\n\n'", "' '"))
    assert regions_of(tokenizer, render(tokenizer, SYSTEM, USER))[:2] == (f"<s>[INST] {SYSTEM}", f" {USER}[/INST]")


@pytest.mark.parametrize(
    ("template", "system", "user", "pattern", "message"),
    [
        (GEMMA, SYSTEM, USER, None, r"rejects a conversation of roles system, user: System role not supported"),
        (None, SYSTEM, USER, None, r"tiny/chat has no chat template"),
        (CHATML, SYSTEM, " ", None, r"the user message is ' '"),
        (MISTRAL.replace("system + '\n\n' + ", ""), SYSTEM, USER, None, r"leaves out the system message 'You are a librarian\.': it writes '<s>\[INST\] You"),
        (MISTRAL.replace("'\n\n'", "''"), "Zebra", "Zebra", r"\w+|[^\w\s]+|\s", r"one token for 'ZebraZebra', which spans two regions"),
        ("{{ messages | length }}{{ add_generation_prompt }}", None, USER, None, r"changes the conversation when a reply is asked for"),
        ("{{ messages[0].content }} {{ messages[-1].content }}", SYSTEM, USER, None, r"so that its start cannot be found"),
        ("{{ bos_token }}<|user|>{{ messages[-1].content }}", None, USER, None, r"so that its start cannot be found"),
        ("{% for m in messages %}<|{{ m.role }}|>{{ loop.index }}: {{ m.content }}{% endfor %}", None, USER, None, r"its start cannot be found"),
    ],
    ids=["gemma", "none", "empty", "dropped", "fused", "unappended", "forgetful-with-system", "forgetful", "numbered"],
)
def test_what_cannot_be_rendered_is_refused_in_one_sentence(template, system, user, pattern, message):
    tokenizer = tokenizer_with(template, pattern) if pattern else tokenizer_with(template)
    with pytest.raises(PersonascopeError, match=message):
        render(tokenizer, system, user)


def test_offsets_of_a_fast_tokenizer_in_order_are_needed():
    class Slow(PreTrainedTokenizerFast):
        is_fast = False

    class Shuffled(PreTrainedTokenizerFast):
        def __call__(self, *arguments, **options):
            encoded = super().__call__(*arguments, **options)
            return {name: encoded[name][::-1] for name in ("input_ids", "offset_mapping")}

    tokenizer = tokenizer_with(CHATML)
    for kind, message in ((Slow, "tiny/chat is a slow tokenizer"), (Shuffled, "tiny/chat do not fall into system, user and header")):
        tokenizer.__class__ = kind
        with pytest.raises(PersonascopeError, match=message):
            render(tokenizer, SYSTEM, USER)


def test_structural_rules_differ_on_fused_breaks_only():
    tokenizer = tokenizer_with(CHATML)
    texts = ["<|im_start|>", "\n", "\n\n", ".\n\n", "?\n\n", " hello", ".", "</s>"]
    token_ids: Any = [tokenizer.convert_tokens_to_ids(text) for text in texts]
    assert tokenizer.unk_token_id not in token_ids
    assert structural_mask(token_ids, tokenizer, "published") == [True, True, True, False, False, False, False, True]
    assert structural_mask(token_ids, tokenizer, "decoded") == [True, True, True, True, True, False, False, True]
    with pytest.raises(PersonascopeError, match="structural rule is 'other'"):
        structural_mask(token_ids, tokenizer, cast(Any, "other"))


def test_a_newline_fused_with_a_letter_is_content():
    tokenizer = tokenizer_with(CHATML)
    tokenizer.add_tokens(["x\n"])
    token_id: Any = tokenizer.convert_tokens_to_ids("x\n")
    assert structural_mask([token_id], tokenizer, "decoded") == [False]


def test_region_codes_come_from_counts():
    structural = [True, False, False, True, True, False, False, True]
    names = [REGIONS[code] for code in region_codes(2, 1, 2, structural)]
    assert names == ["system_structural", "system", "user", "header", "header", "assistant", "assistant", "assistant_structural"]
    assert [REGIONS[code] for code in region_codes(0, 3, 0, structural[:4])] == ["user_structural", "user", "user", "assistant_structural"]


@pytest.mark.parametrize(("system", "user", "header"), [(3, 3, 3), (-1, 2, 2)])
def test_region_counts_must_fit(system, user, header):
    with pytest.raises(PersonascopeError, match="expected counts that fit in 8 tokens"):
        region_codes(system, user, header, [False] * 8)
