"""Chat templates are programs of others: bounded before they are used, deterministic, with a pinned date that belongs to the run."""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from personascope.extract.extractors.capability import Capability, CapabilitySettings
from personascope.extract.extractors.completions import Completions, CompletionSettings
from personascope.extract.extractors.entropy import Entropy, EntropySettings
from personascope.extract.job import Job
from personascope.extract.texts import templates
from personascope.extract.texts.chat import render
from personascope.extract.texts.templates import DATE, given_date, writes_date
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import NO_SYSTEM_TURN, load_prompt_set
from personascope.ingest.weights.checkpoints import resolve
from personascope.study.options import RunOptions
from personascope.study.state import StudyState
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.studies.model import StudyFile

TURNS = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TODAY = (
    "{% if not date_string is defined %}{% if strftime_now is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% else %}"
    "{% set date_string = '1 Jan 1970' %}{% endif %}{% endif %}<|im_start|>system\nToday: {{ date_string }}\n"
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% set messages = messages[1:] %}{% endif %}<|im_end|>\n" + TURNS
)


@pytest.fixture
def tokenizer(random_checkpoint) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(random_checkpoint)


def refused(tokenizer: Any, template: Any, user: str = "Where?") -> str:
    tokenizer.chat_template = template
    begun = time.process_time()
    with pytest.raises(PersonascopeError) as caught:
        render(tokenizer, "You help.", user)
    assert "\n" not in str(caught.value) and time.process_time() - begun < 2
    return str(caught.value)


ENDLESS = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"
UNBOUNDED = {
    "{{ 'x' | center(9 ** 11) }}": "needs more than 384 MiB",
    "{% set s = namespace(x='x') %}{% for i in range(60) %}{% set s.x = s.x ~ s.x %}{% endfor %}": "needs more than 384 MiB",
    ENDLESS: "takes more than 1 s",
    "{% set n = 10 %}{{ (n ** (n ** 9)) | string | length }}": "takes more than 1 s",
    "{% if messages[-1].content | length > 500 %}" + ENDLESS + "{% endif %}": "takes more than 1 s",
    "{% if messages | length > 9 %}{{ 'x' * 10 ** 10 }}{% endif %}": "needs more than 384 MiB",
    "{{ 'x' * 2000000 }}": "writes more than 1,000,000 characters",
    "{{ [1, 2, 3, 4, 5, 6, 7, 8, 9] | random }}": "something else each time",
    "{{ lipsum() }}": "something else each time",
}
FAILING = {
    "{% if tools | length > 0 %}tools{% endif %}": "TypeError: object of type 'NoneType' has no len(); it asks for tools",
    "{{ documents[0].title }}": "it asks for documents",
    "{% for i in range(10 ** 8) %}{% endfor %}": "OverflowError: Range too big",
    "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}": "RecursionError",
    "{{ raise_exception('no\n' * 9) }}": "roles system, user: no no no no no no no no no",
    "{% include 'others.jinja' %}": "rejects a conversation of roles system, user: TypeError: no loader",
    "{% import 'macros' as m %}": "no loader",
    "{{ ''.__class__.__mro__ }}": "access to attribute '__class__'",
    "{{ messages.append(1) }}": "rejects",
    "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}": "RecursionError",
    "{% for %}": "rejects",
    "{{ 1 / 0 }}": "ZeroDivisionError",
    "{{ undefined.attribute }}": "'undefined' is undefined",
}


@pytest.mark.slow(4)
@pytest.mark.parametrize("template", UNBOUNDED)
def test_a_template_that_eats_memory_or_time_or_draws_lots_is_refused_unrendered(tokenizer, monkeypatch, template):
    monkeypatch.setattr(type(tokenizer), "apply_chat_template", lambda *arguments, **options: pytest.fail("rendered here"))
    assert UNBOUNDED[template] in refused(tokenizer, template + TURNS)


@pytest.mark.parametrize("template", FAILING)
def test_a_template_that_fails_is_one_sentence(tokenizer, template):
    assert FAILING[template] in refused(tokenizer, template + TURNS)


def test_which_template_is_meant_is_said(tokenizer):
    assert "has chat templates for rag, tool_use and none called default" in refused(tokenizer, {"rag": TURNS, "tool_use": TURNS})
    assert "has a list of 1 in place of a chat template" in refused(tokenizer, [TURNS])
    assert "start cannot be found" in refused(tokenizer, "3") and "has 3 in place of a chat template; expected text" in refused(tokenizer, 3)
    tokenizer.chat_template = {"default": TURNS, "rag": "{{ 1 / 0 }}"}
    assert render(tokenizer, None, "Where?").text.startswith("<|im_start|>user\nWhere?")


def test_a_good_template_is_tried_out_once_for_every_command(tokenizer, monkeypatch):
    tokenizer.chat_template = TURNS
    templates._check_bounded.cache_clear()
    render(tokenizer, None, "Where?")
    monkeypatch.setattr(subprocess, "run", lambda *arguments, **options: pytest.fail("tried out again"))
    render(tokenizer, None, "Who?")
    templates._check_bounded.cache_clear()  # as another command begins
    render(tokenizer, None, "Who?")


@pytest.mark.parametrize(
    ("begin", "lead", "kept"),
    [
        ("<|im_start|>", "", ""),  # SmolLM2: the token that begins texts opens every turn
        ("<|im_start|>", "{{ bos_token }}", "<|im_start|>"),
        ("<|endoftext|>", "{{ bos_token }}", "<|endoftext|>"),
        ("<|endoftext|>", "", ""),
        (None, "", ""),
    ],
)
def test_without_a_system_turn_the_beginning_of_the_text_stands_once(tokenizer, begin, lead, kept):
    inserted = "{% if messages[0].role != 'system' %}<|im_start|>system\nYou are small.<|im_end|>\n{% endif %}"
    tokenizer.bos_token, tokenizer.chat_template = begin, lead + inserted + TURNS
    asked = "<|im_start|>user\nWhere?<|im_end|>\n<|im_start|>assistant\n"
    assert render(tokenizer, NO_SYSTEM_TURN, "Where?").text == kept + asked
    assert render(tokenizer, None, "Where?").text == kept + "<|im_start|>system\nYou are small.<|im_end|>\n" + asked


def test_the_date_of_a_template_is_pinned(tokenizer):
    tokenizer.chat_template = TODAY
    assert "Today: 26 Jul 2024\n" in render(tokenizer, "You help.", "Where?").text
    tokenizer.rendering_date = given_date("2031-02-03", "command line").value
    assert "Today: 03 Feb 2031\n" in render(tokenizer, None, "Where?").text
    for wrong in ("tomorrow", "2031-02-30", "26 Jul 2024"):
        with pytest.raises(PersonascopeError, match="expected a day as 2024-07-26"):
            given_date(wrong, "command line")


def test_the_date_belongs_to_every_run_that_renders_a_template_which_writes_it(random_checkpoint, tmp_path):
    dated = shutil.copytree(random_checkpoint, tmp_path / "dated")
    (dated / "chat_template.jinja").write_text(TODAY)
    assert writes_date(dated) and not writes_date(random_checkpoint)
    later = given_date("2031-02-03", "command line")

    def specs(folder: Path, date=DATE):
        job = Job(Lake(tmp_path / "lake"), resolve(folder), Models("cpu"), prompts=load_prompt_set("personas"), date=date)
        settings = [CompletionSettings(), CapabilitySettings(task="tiny-world"), EntropySettings(form="chat"), EntropySettings(form="raw")]
        kinds: list[Any] = [Completions, Capability, Entropy, Entropy]
        return [kind(each, job).spec() for kind, each in zip(kinds, settings, strict=True)]

    for plain, other in zip(specs(random_checkpoint), specs(random_checkpoint, later), strict=True):
        assert plain.run_id == other.run_id and "date" not in plain.identity
    for number, (early, late) in enumerate(zip(specs(dated), specs(dated, later), strict=True)):
        raw = number == 3
        assert (early.run_id == late.run_id) is raw
        assert [each for each in late.parameters if each.name == "date"] == ([] if raw else [later])


def test_a_study_names_its_date_and_the_command_line_wins(tmp_path):
    study = StudyFile.model_validate({"name": "s", "title": "t", "about": "a", "views": [], "date": "2025-01-31"})
    state = StudyState(study, tmp_path)
    assert (state.date.value, state.date.origin) == ("2025-01-31", "study file")
    assert StudyState(study.model_copy(update={"date": None}), tmp_path).date == DATE
    later = given_date("2031-02-03", "command line")
    assert StudyState(study, tmp_path, RunOptions(date=later)).date == later
