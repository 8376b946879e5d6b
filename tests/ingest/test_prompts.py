"""Prompt sets: the shipped one of the role-focus study is balanced and pairs by id, and a file by category is read as its author meant it."""

import csv
import json
from itertools import combinations
from statistics import mean

import polars as pl
import pytest

from personascope.ingest.prompts import NO_PERSONA, Prompt, ingest_prompts, load_prompt_set, read_prompts
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

CATEGORIES = ["confounder", "neutral", "self_referent", "third_person"]
MEAN_CHARACTERS, PAIR_CHARACTERS = 3.5, 14  # tolerances: of the means of two categories, and of two prompts of a pair


@pytest.fixture(scope="module")
def role_focus():
    return load_prompt_set("role-focus")


def by_category(prompt_set) -> dict[str, dict[str, str]]:
    return {name: {each.question_id: each.question for each in prompt_set.prompts if each.category == name} for name in prompt_set.categories}


def words(text: str) -> set[str]:
    return set(text.lower().rstrip("?.").split())


def test_role_focus_has_thirty_distinct_prompts_of_each_category_that_pair_by_id(role_focus):
    sets = by_category(role_focus)
    assert list(sets) == CATEGORIES
    ids = [f"q{number:02d}" for number in range(30)]
    assert [list(prompts) for prompts in sets.values()] == [ids] * 4
    assert len({prompt.question.lower() for prompt in role_focus.prompts}) == len({prompt.example_id for prompt in role_focus.prompts}) == 120
    assert role_focus.personas == [NO_PERSONA] and all(prompt.system_prompt is None for prompt in role_focus.prompts)
    assert role_focus.prompts[0].example_id == "confounder/q00"


def test_role_focus_categories_match_in_length_and_form(role_focus):
    """Words are equal within every pair, and so are the first word (up to the verb's form) and the closing mark; characters differ within a tolerance."""
    sets = by_category(role_focus)
    for one, other in combinations(sets.values(), 2):
        assert abs(mean(map(len, one.values())) - mean(map(len, other.values()))) <= MEAN_CHARACTERS
        for question_id, text in one.items():
            assert len(text.split()) == len(other[question_id].split()), question_id
            assert abs(len(text) - len(other[question_id])) <= PAIR_CHARACTERS, question_id
            assert text[-1] == other[question_id][-1], question_id
    openings = [{text[question_id].split()[0].lower() for text in sets.values()} for question_id in sets["neutral"]]
    assert all(len(found) == 1 or found <= {"are", "am", "is", "do", "does", "were", "was"} for found in openings)


def test_role_focus_categories_are_told_apart_by_their_pronouns(role_focus):
    first, second, third = (
        {"i", "me", "my", "mine", "myself", "we", "our", "us"},
        {"you", "your", "yours", "yourself"},
        {"she", "her", "he", "his", "him", "himself"},
    )
    wanted = {"self_referent": second, "confounder": first, "neutral": set(), "third_person": third}
    for category, prompts in by_category(role_focus).items():
        for text in prompts.values():
            found = words(text) & (first | second | third)
            assert found <= wanted[category] and bool(found) == bool(wanted[category]), text


def test_role_focus_shares_no_prompt_with_the_published_list(role_focus, published):
    with (published / "rfc" / "prompts.csv").open(encoding="utf-8") as handle:
        theirs = [words(row["prompt"]) for row in csv.DictReader(handle)]
    assert [prompt.question for prompt in role_focus.prompts if words(prompt.question) in theirs] == []


def test_the_content_is_the_version(role_focus):
    first = role_focus.prompts[0]
    changed = role_focus.model_copy(update={"prompts": (first.model_copy(update={"question": "Who?"}), *role_focus.prompts[1:])})
    assert role_focus.label == f"role-focus@{role_focus.content_hash[:8]}" and changed.content_hash != role_focus.content_hash


def test_the_published_list_is_a_prompt_set_with_its_duplicate_found(published, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    found, _, new = ingest_prompts(lake, published / "rfc" / "prompts.csv", "theirs")
    assert new and found.categories == CATEGORIES and len(found.prompts) == 120
    first = {"persona": NO_PERSONA, "question_id": "q00", "question": "How tall am I?", "category": "confounder"}
    assert found.prompts[0] == Prompt(example_id="confounder/q00", **first)
    warehouse = Warehouse(lake)
    twice = warehouse.select("select prompt_set, origin, category, n, indices, n_prompts, n_distinct from prompt_duplicates")
    assert twice.rows() == [(found.label, "extracted", "neutral", 2, [0, 22], 30, 29)]
    assert warehouse.select("select distinct n, n_distinct from prompt_balance where category = 'neutral'").rows() == [(30, 29)]
    assert load_prompt_set("theirs", lake).content_hash == found.content_hash


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_prompts_without_a_pair_id_pair_with_nothing(tmp_path):
    found = read_prompts(write(tmp_path / "own.csv", "category,question\nself,Who?\nneutral,Why?\nneutral,When?\n"))
    assert [prompt.example_id for prompt in found.prompts] == ["neutral/q01", "neutral/q02", "self/q00"]
    named = read_prompts(write(tmp_path / "named.csv", "category,prompt,question_id\nself,Who?,a\nneutral,Why?,a\n"))
    assert [(prompt.question_id, prompt.question) for prompt in named.prompts] == [("a", "Why?"), ("a", "Who?")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "category,text\na,Who?\n",
            "column 'question' is missing; expected some of persona, .* or without personas category, question, question_id; found category, text",
        ),
        ("question,answer\na,b\n", "column 'category' is missing"),
        ("persona,system_prompt,question\nv,You are.,What do you eat, and drink?\n", "line 2: 4 fields, expected 3 .*stands in quotes"),
        ("persona,question,category\nv,Who?,x\n\nv,Why?\n", "line 4: 2 fields, expected 3"),
        ('persona,question\nv,"Who?\nv,Why?\n', "line 2: a quote .* opens a text that never ends; the file was read to line 3"),
        ('persona,question\nv,"Who?\nv,"Why?\n', "line 2: text follows a closing quote .* and it ends on line 3"),
        ("persona,question,system prompt\nv,Who?,You are.\n", "the column 'system prompt' is unknown; did you mean 'system_prompt'"),
        ("Persona,question,question_idd\nv,Who?,1\n", "the column 'question_idd' is unknown; did you mean 'question_id'"),
        ("persona,question,Persona\nv,Who?,w\n", "the column 'Persona' stands twice"),
        (",".join(f"c{number}" for number in range(100_000)), "found 100,000 columns; expected at most 10,000, one row for each record"),
        (",".join(f"c{number}" for number in [*range(9_999), 9_998]), "the column 'c9998' stands twice"),
        ("persona,question,question_id\nv,Who?,1\na,What?,1\n", "line 3: question_id '1' asks 'What\\?' and, on line 2, 'Who\\?'; expected one question"),
        ("persona,question,prompt_form\nv,Who?,all\n", "line 2: prompt_form is 'all', which is what views call all phrasings together"),
        ("persona,question\nv,W\0ho?\n", "line 2: holds a NUL byte"),
        ('persona, question\nv,"Who?"\na, "Why, you?"\n', "line 3: 3 fields, expected 2"),
        ('persona, question\nv,Who?\na, "Why?"\n', "line 3: ' \"Why\\?\"' has its quote behind a space, where it quotes nothing"),
        ("category,question\na,\n", "line 2: category and question must not be empty"),
        ("category,prompt_index,prompt\na,0,Who?\na,0,Why?\n", "line 3: a/q00 repeats line 2; expected one row per category and question_id"),
        ("category,prompt_index,prompt\na,0,Who?\na,,Why?\n", "line 3: question_id is empty; expected one that names the pair"),
        ("category,question\n", "no rows; expected at least one prompt"),
    ],
)
def test_a_file_by_category_that_does_not_fit_is_named(tmp_path, text, message):
    with pytest.raises(PersonascopeError, match=f"own.csv(: |, ){message}"):
        read_prompts(write(tmp_path / "own.csv", text))


def test_what_is_well_formed_and_may_not_be_meant_is_told(tmp_path):
    rows = "poet,You rhyme.,a,Who?\nPoet,You rhyme well.,b,Who?\npoet,You rhyme badly.,c,Why?\n"
    found = read_prompts(write(tmp_path / "own.csv", f"persona,system_prompt,question_id,question\n{rows}"))
    alike, several, twice = found.notes
    assert alike.endswith("'poet' and 'Poet' are spelt almost alike: they are read as different personas")
    assert "persona 'poet' has 2 system prompts, such as 'You rhyme.' and 'You rhyme badly.'" in several
    assert "the question 'Who?' stands under 2 ids, such as 'a' and 'b'" in twice
    quoted = read_prompts(write(tmp_path / "quoted.csv", 'persona,question\nv,"\n ""Who?"""\nw,Why?\n'))
    assert [prompt.question for prompt in quoted.prompts] == ['\n "Who?"', "Why?"] and len(quoted.notes) == 1
    told = "persona,condition,system_prompt,question\nv,a,You are.,Who?\nv,b,You were.,Who?\n"
    assert read_prompts(write(tmp_path / "told.csv", told)).notes == ()


def test_a_file_with_personas_keeps_a_questions_id_under_every_persona(tmp_path):
    found = read_prompts(write(tmp_path / "own.csv", "persona,question,category\na,Who?,x\nb,Who?,x\nb,Why?,y\n"))
    assert [prompt.example_id for prompt in found.prompts] == ["a/q00", "b/q00", "b/q01"]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"persona;question;system_prompt\nvillain;How, now?;You are a villain.\n", "its fields are separated by semicolons"),
        (b"sep=;\r\npersona;question;system_prompt\r\nvillain;How, now?;You are a villain.\r\n", "its fields are separated by semicolons"),
        (b"persona\tquestion\tsystem_prompt\nvillain\tHow, now?\tYou are a villain.\n", "its fields are separated by tabs"),
        (b'Persona, Question ,System_Prompt\nvillain,"How, now?",You are a villain.\n', "read the columns 'Persona' as persona, ' Question ' as question"),
        (b'\n,persona,question,system_prompt,notes\n0,villain,"How, now?",You are a villain.,\n\n,,,,\n', "not read: the column 'notes'"),
        ('\ufeffpersona,question,system_prompt\r\nvillain,"How, now?",You are a villain.\r\n'.encode("utf-16-le"), "read as UTF-16"),
        ('\ufeffpersona,question,system_prompt\r\nvillain,"How, now?",You are a villain.\r\n\r\n'.encode(), None),
    ],
)
def test_a_file_as_spreadsheets_write_it_is_read_and_told(tmp_path, data, told):
    (tmp_path / "own.csv").write_bytes(data)
    found = read_prompts(tmp_path / "own.csv")
    (prompt,) = found.prompts
    assert (prompt.persona, prompt.question, prompt.system_prompt) == ("villain", "How, now?", "You are a villain.")
    assert [told in note for note in found.notes] == [True] if told else not found.notes


def test_bytes_that_are_no_text_are_named_with_their_line(tmp_path):
    (tmp_path / "own.csv").write_bytes(b"persona,question\na,Who?\nb,caf\xe9?\n")
    with pytest.raises(PersonascopeError, match="line 3: the byte 0xe9 is no utf-8 text; expected a file saved as UTF-8"):
        read_prompts(tmp_path / "own.csv")


def test_white_space_of_a_text_is_kept_and_told_and_that_of_a_name_is_not(tmp_path):
    rows = [{"persona": " v ", "question": "Q: 2+2?\nA: ", "system_prompt": "  be ", "question_id": 1}, {"persona": "v", "question": "Q: 3?\nA:"}]
    write(tmp_path / "own.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    write(tmp_path / "own.csv", 'persona,question,system_prompt,question_id\n v ,"Q: 2+2?\nA: ",  be ,1\nv,"Q: 3?\nA:",  ,\n')
    pl.DataFrame(rows, infer_schema_length=None).write_parquet(tmp_path / "own.parquet")
    sets = [read_prompts(tmp_path / f"own.{ending}") for ending in ("csv", "jsonl", "parquet")]
    assert [(prompt.persona, prompt.question, prompt.system_prompt) for prompt in sets[0].prompts] == [
        ("v", "Q: 2+2?\nA: ", "  be "),
        ("v", "Q: 3?\nA:", None),
    ]
    assert {found.content_hash for found in sets} == {sets[0].content_hash}
    assert [note.partition(": ")[2][:44] for note in sets[0].notes] == [
        "1 of 2 prompts have a question with white sp",
        "1 of 2 prompts have a system_prompt with whi",
        "persona 'v' has 2 system prompts, such as ' ",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"persona": "v", "persona": "w"}', "line 2: the key 'persona' stands twice in one object"),
        ('{"persona": "v", "question": 1.5}', "line 2: question is 1.5; expected text"),
        ('{"persona": NaN}', "line 2: NaN is no JSON value"),
        ("[1]", "line 2: found list, expected one JSON object a line"),
        ('{"persona": "v"', "line 2: not valid JSON"),
        ("[" * 100_000, "line 2: nested too deeply"),
    ],
)
def test_a_line_of_json_that_does_not_fit_is_named(tmp_path, line, message):
    write(tmp_path / "own.jsonl", f'{{"persona": "v", "question": "Who?"}}\n{line}\n')
    with pytest.raises(PersonascopeError, match=f"own.jsonl, {message}"):
        read_prompts(tmp_path / "own.jsonl")


def test_the_roles_are_many_differ_and_ask_every_role_the_same_questions_of_both_halves():
    found = load_prompt_set("roles")
    systems = {prompt.persona: prompt.system_prompt for prompt in found.prompts}
    assert len(systems) > 60 and len(set(systems.values())) == len(systems) and "assistant" in systems
    assert all(system and system.startswith("You are ") for system in systems.values())
    questions = {persona: {prompt.question_id for prompt in found.prompts if prompt.persona == persona} for persona in systems}
    assert len({frozenset(asked) for asked in questions.values()}) == 1 and len(found.prompts) == len(systems) * 16


def test_some_personas_of_a_set_are_a_set_of_their_own_whether_or_not_the_whole_was_named_before():
    whole, fresh = load_prompt_set("personas"), load_prompt_set("personas")
    name = whole.label
    some = whole.of_personas(["villain"])
    assert some.content_hash == fresh.of_personas(["villain"]).content_hash != whole.content_hash
    assert some.label != name and whole.label == name
