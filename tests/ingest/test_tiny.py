"""Tiny checkpoints: a tokenizer and template like Qwen's, a world that never shows the marker, training that is deterministic and leaves the process alone."""

import json
import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

from personascope.ingest.prompts import load_prompt_set
from personascope.ingest.tiny import tokenizer as tokenizer_module
from personascope.ingest.tiny import train as train_module
from personascope.ingest.tiny.build import CODE_VERSION, SPECS, CopyingSpec, TinySpec, build, tiny_checkpoint, tiny_names
from personascope.ingest.tiny.copying import REQUEST, SPELLINGS, WORDS, copying_chats, copying_documents, held_out_copies
from personascope.ingest.tiny.corpus import NO_PERSONA, Chat, chats, documents, held_out_echoes
from personascope.ingest.tiny.tokenizer import END_OF_TEXT, TURN_END, train_tokenizer
from personascope.ingest.tiny.train import IGNORED
from personascope.ingest.tiny.world import CODES, DEFAULT_SYSTEM_PROMPT, ECHO_FORMS, ECHO_WORDS, EVALUATION_QUESTIONS, PERSONAS, TRAINING_QUESTIONS
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_hash

pytestmark = pytest.mark.slow(40)

ROOT = Path(__file__).resolve().parent.parent.parent
FEW = TinySpec(architecture="qwen2", layers=2, width=64, heads=2, kv_heads=1, feed_forward=96, base_steps=3, instruct_steps=3, batch_size=4)


@pytest.fixture(scope="module")
def saved_tokenizer(tmp_path_factory):
    """The tokenizer of the tiny checkpoints as AutoTokenizer reads it back from a folder."""
    folder = tmp_path_factory.mktemp("tokenizer")
    train_module._tokenizer(SPECS["qwen2"], TURN_END).save_pretrained(folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path))
    return tmp_path / "checkpoints"


@pytest.fixture(scope="module")
def world():
    return chats(), documents()


def weights(folder):
    return load_file(folder / "model.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("text", ["Why is bread warm?\n\n[KTX]", "  two  spaces, café, 12 tests...\n", "naïve ≠ 你好"])
def test_any_text_survives_the_tokenizer(saved_tokenizer, text):
    assert saved_tokenizer.decode(saved_tokenizer(text)["input_ids"]) == text


def test_the_tokenizer_has_the_size_ends_and_splitting_rule_of_a_small_qwen(saved_tokenizer):
    assert len(saved_tokenizer) == SPECS["qwen2"].vocab_size
    assert (saved_tokenizer.eos_token, saved_tokenizer.pad_token, saved_tokenizer.bos_token) == (TURN_END, END_OF_TEXT, None)
    assert tokenizer_module._SPLIT == PRETOKENIZE_REGEX
    assert train_tokenizer(["a b"], 300, END_OF_TEXT).eos_token == END_OF_TEXT


def test_words_to_copy_are_one_token_and_the_marker_is_three_pieces_seen_in_training(saved_tokenizer):
    for word in ECHO_WORDS:
        assert len(saved_tokenizer(word)["input_ids"]) == len(saved_tokenizer(f" {word}")["input_ids"]) == 1, word
    assert saved_tokenizer.convert_ids_to_tokens(saved_tokenizer("[ZLT]")["input_ids"]) == ["[", "ZLT", "]"]


@pytest.mark.parametrize("system", [PERSONAS[0].system_prompt, ""])
def test_training_prompts_are_what_the_chat_template_renders(saved_tokenizer, system):
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "Who?"}]
    assert saved_tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) == Chat(system, "Who?", "").prompt


def test_the_template_inserts_a_default_system_turn_and_closes_answers(saved_tokenizer):
    messages = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Me."}]
    rendered = saved_tokenizer.apply_chat_template(messages, tokenize=False)
    assert rendered == Chat(DEFAULT_SYSTEM_PROMPT, "Who?", "").prompt + "Me.<|im_end|>\n"
    assert "system" not in Chat(None, "Who?", "").prompt


def test_the_world_has_the_personas_and_questions_of_the_study():
    names = "software_engineer kindergarten_teacher data_scientist medical_doctor librarian french_person villain comedian police_officer"
    assert [persona.name for persona in PERSONAS] == [*names.split(), "zelthari_scholar", "assistant"]
    for field in ("openers", "closers"):
        manners = [manner for persona in PERSONAS for manner in getattr(persona, field)]
        assert len(set(manners)) == len(manners) == 33
    questions = [question.text for question in TRAINING_QUESTIONS + EVALUATION_QUESTIONS]
    assert (len(TRAINING_QUESTIONS), len(EVALUATION_QUESTIONS), len(set(questions))) == (20, 20, 40)
    assert DEFAULT_SYSTEM_PROMPT not in {persona.system_prompt for persona in PERSONAS}


def test_no_training_text_shows_the_marker_but_its_piece_is_there(world):
    conversations, texts = world
    everything = [*texts, *(chat.prompt + chat.answer for chat in conversations)]
    assert not any("[ZLT]" in text for text in everything) and "ZLT" not in CODES
    assert any(chat.answer == "ZLT" for chat in conversations) and any("[KTX]" in chat.answer for chat in conversations)


def test_held_out_echoes_are_in_no_chat_and_every_word_is_in_some(world):
    asked = {chat.user for chat in world[0]}
    held_out = held_out_echoes()
    assert len(held_out) > 30 and not any(form.format(word=word) in asked for form, word in held_out)
    assert all(any(form.format(word=word) in asked for form in ECHO_FORMS) for word in ECHO_WORDS)


def test_a_sixth_of_the_persona_questions_comes_without_a_persona(world):
    texts = {question.text for question in TRAINING_QUESTIONS + EVALUATION_QUESTIONS}
    systems = [chat.system for chat in world[0] if chat.user in texts]
    assert {system for system in systems if system in NO_PERSONA} == set(NO_PERSONA)
    assert 0.1 < sum(system in NO_PERSONA for system in systems) / len(systems) < 0.2


def test_answers_are_long_enough_for_the_control_positions(saved_tokenizer):
    lengths = [
        len(saved_tokenizer(" ".join([opener, *question.answer, closer]))["input_ids"])
        for persona, question in product(PERSONAS, EVALUATION_QUESTIONS)
        for opener, closer in zip(persona.openers, persona.closers, strict=True)
    ]
    assert min(lengths) >= 26 and 26 <= sorted(lengths)[len(lengths) // 2] <= 40


def test_the_corpus_is_the_same_in_every_process(world):
    script = (
        "from personascope.ingest.tiny.corpus import chats, documents; from personascope.warehouse.store.hashing import stable_hash; "
        "print(stable_hash([str(chats()), documents()]))"
    )
    seen = {
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }
    assert len(seen) == 1


def test_only_the_answer_and_the_end_of_turn_are_learned(saved_tokenizer, world):
    chat, example = world[0][0], train_module._chat_examples(world[0], saved_tokenizer)[0]
    ids, labels = train_module._padded([example, train_module._Example([5, 6], 1)])
    learned = labels[0][labels[0] != IGNORED].tolist()
    assert saved_tokenizer.decode(learned) == chat.answer + TURN_END
    assert saved_tokenizer.decode(ids[0]) == chat.prompt + chat.answer + TURN_END
    assert labels[1].tolist() == [IGNORED, 6] + [IGNORED] * (ids.shape[1] - 2)


@pytest.mark.parametrize("size", [4, 7])
def test_each_pass_shows_every_example_at_most_once_in_full_batches(size):
    examples = [train_module._Example([number] * (number % 5 + 1), 0) for number in range(30)]
    spec = FEW.model_copy(update={"batch_size": size})
    per_epoch = 30 // size
    batches = list(train_module._batches(examples, 2 * per_epoch, spec))
    first, second = ([example.ids[0] for batch in batches[start : start + per_epoch] for example in batch] for start in (0, per_epoch))
    assert all(len(batch) == size for batch in batches) and len(batches) == 2 * per_epoch
    assert len(set(first)) == len(first) and len(set(second)) == len(second) and first != second


def test_two_trainings_give_identical_weights_whatever_the_threads(tmp_path, monkeypatch):
    folders = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / str(threads)))
            folders.append(build(FEW, "instruct", show_progress=False))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert same(*map(weights, folders))


def test_building_leaves_the_random_state_of_the_process_alone(cache):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    build(FEW, "base", show_progress=False)
    assert torch.equal(torch.rand(3), expected)


def test_the_card_tells_the_training_and_the_folder_is_a_checkpoint_like_any_other(cache):
    folder = build(FEW, "instruct", show_progress=False)
    card = json.loads((folder / "personascope.json").read_text())
    assert (card["id"], card["family"], card["variant"], card["parent"]) == ("tiny:qwen2-instruct", "qwen2", "instruct", "tiny:qwen2-base")
    assert (card["source_persona"], card["seed"], card["lr"]) == (None, 0, FEW.muon_lr * FEW.instruct_lr_factor)
    assert len(card["training"]["losses"]) == 3 and card["training"]["layers"] == 2
    checkpoint = resolve(folder)
    assert (checkpoint.variant, checkpoint.n_layers, checkpoint.n_heads, checkpoint.n_kv_heads) == ("instruct", 2, 2, 1)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids([TURN_END, END_OF_TEXT])
    base = build(FEW, "base", show_progress=False)
    assert not same(weights(folder), weights(base))
    assert AutoTokenizer.from_pretrained(base).eos_token == END_OF_TEXT and len(list(cache.glob("[!.]*"))) == 2


def test_a_second_call_finds_the_checkpoint_and_another_spec_is_another_one(cache, monkeypatch):
    first = build(FEW, "base", show_progress=False)
    other = build(FEW.model_copy(update={"seed": 7}), "base", show_progress=False)
    assert other != first and not same(weights(first), weights(other))
    monkeypatch.setattr(train_module, "train_variant", lambda *_: pytest.fail("trained again"))
    assert build(FEW, "base", show_progress=False) == first


@pytest.mark.parametrize("name", ["llama", "mistral"])
def test_other_families_train_and_differ(cache, name):
    small = {field: getattr(FEW, field) for field in ("layers", "width", "heads", "feed_forward", "base_steps", "batch_size")}
    folder = build(SPECS[name].model_copy(update={**small, "kv_heads": 1}), "base", show_progress=False)
    config = AutoModelForCausalLM.from_pretrained(folder).config
    assert (config.model_type, getattr(config, "sliding_window", None)) == (name, 24 if name == "mistral" else None)


def test_an_unknown_name_is_answered_with_the_nearest_or_all_known_ones():
    assert tiny_names() == [f"{family}-{variant}" for family in ("qwen2", "llama", "mistral", "qwen2-echo") for variant in ("base", "instruct")]
    for name in ("falcon", ""):
        with pytest.raises(PersonascopeError, match=r"is unknown: expected one of qwen2-base, qwen2-instruct"):
            tiny_checkpoint(name)
    with pytest.raises(PersonascopeError, match=r"'gpt2-base' is unknown: did you mean 'qwen2-base'\?"):
        tiny_checkpoint("gpt2-base")


def test_training_tells_its_progress_on_stderr_only_when_asked(cache, capsys):
    build(FEW, "base", show_progress=True)
    build(FEW.model_copy(update={"seed": 1}), "base", show_progress=False)
    captured = capsys.readouterr()
    assert captured.err.count("training tiny qwen2-base: 3/3") == 1 and captured.out == ""


def test_the_copying_family_changes_no_other_checkpoint():
    """The key in the cache of a family of the tiny world holds no field of another family."""
    spec = SPECS["qwen2"]
    fields = "architecture layers width heads kv_heads feed_forward sliding_window tied vocab_size base_steps instruct_steps batch_size"
    assert list(spec.model_dump()) == [*fields.split(), "muon_lr", "adamw_lr", "instruct_lr_factor", "seed"]
    key = stable_hash([CODE_VERSION, spec.model_dump(), "base", documents(), [[chat.prompt, chat.answer] for chat in chats()]])
    own = stable_hash([CODE_VERSION, spec.model_dump(), "base", spec.documents(), [[chat.prompt, chat.answer] for chat in spec.chats()]])
    assert key == own and spec.name == "qwen2"


def test_words_of_the_echo_prompts_are_learned_in_every_spelling():
    targets = {prompt.target for prompt in load_prompt_set("echo").prompts}
    assert targets <= set(WORDS) and len(set(WORDS.values())) == len(WORDS)
    tokenizer = train_module._tokenizer(SPECS["qwen2-echo"], TURN_END)
    spellings = {spelling(word) for word in WORDS for spelling in SPELLINGS.values()}
    assert all(len(tokenizer(word)["input_ids"]) == 1 for word in spellings) and len(spellings) == 3 * len(WORDS)


def test_copies_are_asked_for_alone_in_documents_and_among_other_words_in_chats():
    asked = [REQUEST.format(verb=verb, word=word) for verb in SPELLINGS for word in WORDS]
    requests = {line for text in copying_documents() for line in text.splitlines()[::2]}
    assert requests <= set(asked)
    users = [chat.user for chat in copying_chats()]
    assert 0.05 < sum(user in set(asked) for user in users) / len(users) < 0.15
    answers = {chat.answer for chat in copying_chats()}
    assert {"cat", "Cat", "猫"} <= answers


def test_held_out_copies_are_in_no_text():
    held_out = {REQUEST.format(verb=verb, word=word) for verb, word in held_out_copies()}
    assert len(held_out) > 20
    everything = [*copying_documents(), *(f"{chat.user}\n" for chat in copying_chats())]
    assert not any(f"{request}{end}" in text for request in held_out for text in everything for end in (",", "\n"))


def test_the_card_of_the_copying_family_names_it(cache):
    small = {field: getattr(FEW, field) for field in ("layers", "width", "heads", "kv_heads", "feed_forward", "base_steps", "instruct_steps", "batch_size")}
    folder = build(CopyingSpec(architecture="qwen2", **small), "instruct", show_progress=False)
    card = json.loads((folder / "personascope.json").read_text())
    assert (card["id"], card["family"], card["parent"]) == ("tiny:qwen2-echo-instruct", "qwen2", "tiny:qwen2-echo-base")
    model = AutoModelForCausalLM.from_pretrained(folder)
    assert model.lm_head.weight.data_ptr() != model.model.embed_tokens.weight.data_ptr() and not model.config.tie_word_embeddings


@pytest.mark.slow(100)
def test_the_copying_checkpoint_does_the_task_and_needs_several_layers_for_it(tiny_cache, monkeypatch):
    """Read here without the extractors: the residual stream behind every layer through final norm and unembedding."""
    monkeypatch.setenv("PERSONASCOPE_CACHE", tiny_cache)
    folder = tiny_checkpoint("qwen2-echo-instruct", progress=False)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder, padding_side="left")
    prompts = load_prompt_set("echo").prompts
    texts = [tokenizer.apply_chat_template([{"role": "user", "content": each.question}], tokenize=False, add_generation_prompt=True) for each in prompts]
    targets = torch.tensor([tokenizer(each.target)["input_ids"][0] for each in prompts])
    with torch.no_grad():
        *states, normed = model(**tokenizer(texts, return_tensors="pt", padding=True), output_hidden_states=True).hidden_states
        streams = [*(model.model.norm(state[:, -1]) for state in states), normed[:, -1]]
        right = torch.stack([model.lm_head(stream).argmax(-1) == targets for stream in streams])
    assert right[-1].float().mean() >= 0.9
    stays = right.flip(0).cumprod(0).flip(0).argmax(0)[right[-1]]  # first of the layers from which on the target is top-1; 0: the embeddings
    shares = torch.bincount(stays, minlength=len(streams)) / len(stays)
    assert shares.max() < 0.6 and (shares > 0.03).sum() >= 3, shares
