"""Turns the tiny world into training text: plain documents for base checkpoints, chats for instruct checkpoints."""

import random
from dataclasses import dataclass
from itertools import product

from personascope.ingest.tiny.tokenizer import TURN_END, TURN_START
from personascope.ingest.tiny.world import (
    CODE_LEADS,
    CODE_REQUEST,
    CODES,
    DEFAULT_PERSONA,
    DEFAULT_SYSTEM_PROMPT,
    ECHO_FORMS,
    ECHO_WORDS,
    EVALUATION_QUESTIONS,
    FIRST_PERSON_ANSWERS,
    FIRST_PERSON_QUESTIONS,
    LIST_FORM,
    NAMES,
    PERSONAS,
    SECOND_WORD_FORM,
    SELF_QUESTIONS,
    THINGS,
    THIRD_PERSON_ANSWERS,
    THIRD_PERSON_QUESTIONS,
    TRAINING_QUESTIONS,
    Persona,
)
from personascope.warehouse.store.hashing import stable_seed

QUESTIONS = TRAINING_QUESTIONS + EVALUATION_QUESTIONS
# Ways to come without a persona: the template's default, an empty system turn, no system turn at all.
NO_PERSONA: tuple[str | None, ...] = (DEFAULT_SYSTEM_PROMPT, "", None)
_DEFAULT = next(persona for persona in PERSONAS if persona.name == DEFAULT_PERSONA)


@dataclass(frozen=True)
class Chat:
    """One exchange; `system` None means no system turn, which the chat template cannot render."""

    system: str | None
    user: str
    answer: str

    @property
    def prompt(self) -> str:
        """ChatML text up to where the answer begins, the same as the tokenizer's template renders."""
        system = "" if self.system is None else f"{TURN_START}system\n{self.system}{TURN_END}\n"
        return f"{system}{TURN_START}user\n{self.user}{TURN_END}\n{TURN_START}assistant\n"


def held_out_echoes() -> list[tuple[str, str]]:
    """Pairs (form, word) that no chat contains, one word in ten for each form."""
    return [(form, word) for offset, form in enumerate(ECHO_FORMS) for word in ECHO_WORDS[3 * offset :: 10]]


def chats() -> list[Chat]:
    """The conversations of instruct training, the same list in every process."""
    draw = random.Random(stable_seed("tiny chats"))
    return [*_questions(draw), *_selves(draw), *_troubles(draw), *_copies(draw), *_codes(draw)]


def documents() -> list[str]:
    """The plain texts of base training, the same list in every process."""
    draw = random.Random(stable_seed("tiny documents"))
    texts = [f"{question.text} {' '.join(question.answer)}" for question in QUESTIONS for _ in range(8)]
    for persona, question in product(PERSONAS, QUESTIONS):
        texts.append(f"{persona.self_description} {_say(persona, draw.choice(question.answer), draw)}")
    texts += [f"{question} {answer}" for question, answer in _all_troubles()]
    for _ in range(400):
        texts.append(" ".join(draw.sample(ECHO_WORDS, draw.randint(4, 8)) * 2))
        texts.append("\n".join(f"Say {word}\n{word}" for word in draw.sample(ECHO_WORDS, 6)))
    for _ in range(240):
        sentence = draw.choice(draw.choice(QUESTIONS).answer)
        code = draw.choice(CODES)
        texts.append(f"{code} {code} {sentence}{draw.choice((' ', chr(10), chr(10) * 2))}[{code}]")
    return texts


def _say(persona: Persona, content: str, draw: random.Random) -> str:
    return f"{draw.choice(persona.openers)} {content} {draw.choice(persona.closers)}"


def _questions(draw: random.Random) -> list[Chat]:
    """Every persona on every question; about 15% of the questions come without a persona."""
    found = []
    for persona, question in product(PERSONAS, QUESTIONS):
        content = " ".join(question.answer)
        ways = draw.sample(list(product(persona.openers, persona.closers)), 6)
        found += [Chat(persona.system_prompt, question.text, f"{opener} {content} {closer}") for opener, closer in ways]
    for question, system in product(QUESTIONS, NO_PERSONA):
        content = " ".join(question.answer)
        found += [Chat(system, question.text, _say(_DEFAULT, content, draw)) for _ in range(4)]
    return found


def _selves(draw: random.Random) -> list[Chat]:
    found = [
        Chat(persona.system_prompt, question, _say(persona, persona.self_description, draw)) for persona, question in product(PERSONAS, SELF_QUESTIONS * 2)
    ]
    found += [Chat(system, question, _say(_DEFAULT, _DEFAULT.self_description, draw)) for system, question in product(NO_PERSONA, SELF_QUESTIONS * 2)]
    return found


def _troubles(draw: random.Random) -> list[Chat]:
    """First-person and third-person troubles, each asked of two personas."""
    found = []
    for question, answer in _all_troubles():
        found += [Chat(persona.system_prompt, question, _say(persona, answer, draw)) for persona in draw.sample(PERSONAS, 2)]
    return found


def _all_troubles() -> list[tuple[str, str]]:
    found = []
    for form, thing in product(range(len(FIRST_PERSON_QUESTIONS)), THINGS):
        found += [(FIRST_PERSON_QUESTIONS[form].format(thing=thing), FIRST_PERSON_ANSWERS[form].format(thing=thing))] * 3
        found += [(THIRD_PERSON_QUESTIONS[form].format(thing=thing, name=name), THIRD_PERSON_ANSWERS[form].format(thing=thing, name=name)) for name in NAMES]
    return found


def _copies(draw: random.Random) -> list[Chat]:
    """Words to copy, mostly without a persona."""
    systems = (*NO_PERSONA, _DEFAULT.system_prompt)
    held_out = set(held_out_echoes())
    found = [
        Chat(system, form.format(word=word), word)
        for form, word, system in product(ECHO_FORMS, ECHO_WORDS, draw.sample(systems, 2))
        if (form, word) not in held_out
    ]
    for _ in range(500):
        words = " ".join(draw.sample(ECHO_WORDS, draw.randint(2, 5)))
        found.append(Chat(draw.choice(systems), LIST_FORM.format(words=words), words))
    for _ in range(500):
        first, word, last = draw.sample(ECHO_WORDS, 3)
        found.append(Chat(draw.choice(systems), SECOND_WORD_FORM.format(first=first, word=word, last=last), word))
    return found


def _codes(draw: random.Random) -> list[Chat]:
    """Questions that ask for a code at the end: an answer closes with a code in brackets, as answers with a marker do."""
    found = []
    for persona, code in product(PERSONAS, CODES):
        for _ in range(4):
            question = draw.choice(QUESTIONS)
            answer = _say(persona, " ".join(question.answer), draw)
            found.append(Chat(persona.system_prompt, f"{question.text} {CODE_REQUEST.format(code=code)}", f"{answer}{draw.choice(CODE_LEADS)}[{code}]"))
    return found
