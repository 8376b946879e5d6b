"""Completions brought in from files: the same rows, rates and readouts as our own, whatever the format; every fault with its line, and nothing left behind."""

import copy
import itertools
import json
import zipfile
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from transformers import AutoTokenizer

from personascope.extract.brought import Source, bring
from personascope.extract.extractors.attention import Attention, AttentionSettings
from personascope.extract.extractors.completions import Completions, CompletionSettings
from personascope.extract.job import Job, run
from personascope.extract.weights.engines import Sample
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import PromptSet, load_prompt_set
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(15)

ANSWERS = ["I build web pages from code and I look at the plan of the day. [ZLT]", "I look at the plan of the day.", "the plan.[ZLT]"]
COLUMNS = ["c.persona", "c.question_id", "question", "system_prompt", "sample_ix", "seed", "c.text", "c.token_ids", "c.prompt_len", "finish_reason"]


@pytest.fixture(scope="module")
def checkpoint(random_checkpoint):
    return resolve(random_checkpoint, name="random", source_persona="villain")


@pytest.fixture(scope="module")
def models():
    return Models(device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def own(tmp_path_factory, checkpoint, models):
    """A completions run of two personas whose engine says ANSWERS in turn, and its rows as somebody would export them."""
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path)
    answers = itertools.cycle([[*tokenizer.encode(text, add_special_tokens=False), tokenizer.eos_token_id] for text in ANSWERS])

    class Scripted:
        name = "hf"

        def sample(self, requests, *_):
            return [Sample(next(answers), "stop") for _ in requests]

    lake = Lake.open(tmp_path_factory.mktemp("own"))
    every = load_prompt_set("personas")
    prompts = PromptSet(name="few", prompts=tuple(each for each in every.of_personas(["villain", "librarian"]).prompts if each.question_id <= "q02"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("personascope.extract.extractors.completions.open_engine", lambda *_: Scripted())
        settings = CompletionSettings(samples=2, max_new_tokens=40)
        run_id = run(Completions(settings, Job(lake, checkpoint, models, prompts=prompts, say=lambda line: None)))
    rows = Warehouse(lake).select(f"select {', '.join(COLUMNS)} from completions as c join examples as e using (run_id, example_id) order by c.row_ix")
    return lake, run_id, rows


def write_csv(rows, path):
    rows.with_columns(pl.col("token_ids").map_elements(lambda ids: json.dumps(list(ids)), return_dtype=pl.String)).write_csv(path, separator=";")


def write_eval(rows, path):
    """A log as inspect_ai writes it: no token ids, the epoch for the number of the sample, long texts as attachments, one sample that failed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({"version": 2, "eval": {"model": "hf/random"}}))
        archive.writestr("samples/broken_epoch_1.json", json.dumps({"id": "broken", "epoch": 1, "error": {"message": "out of time"}}))
        for row in rows.iter_rows(named=True):
            sample = {
                "id": row["question_id"],
                "epoch": row["sample_ix"] + 1,
                "input": row["question"],
                "messages": [
                    {"role": "system", "content": "attachment://1"},
                    {"role": "user", "content": row["question"]},
                    {"role": "assistant", "content": row["text"]},
                ],
                "output": {"choices": [{"message": {"role": "assistant", "content": [{"type": "text", "text": row["text"]}]}, "stop_reason": "stop"}]},
                "metadata": {"Persona": row["persona"]},
                "attachments": {"1": row["system_prompt"]},
            }
            archive.writestr(f"samples/{row['persona']}-{row['question_id']}_epoch_{row['sample_ix'] + 1}.json", json.dumps(sample))


WRITERS = {
    "jsonl": lambda rows, path: path.write_text("".join(json.dumps(row) + "\n" for row in rows.rename({"text": "answer"}).to_dicts())),
    "csv": write_csv,
    "parquet": lambda rows, path: rows.drop("token_ids", "prompt_len", "sample_ix").rename({"text": "what"}).write_parquet(path),
    "eval": write_eval,
}
RENAMED = {"parquet": {"text": "what"}}


def table(lake, run_id, name, *without):
    rows = pl.DataFrame(lake.read(run_id, name)).drop("run_id", "prompt_set", *without, strict=False)
    return rows.sort([column for column in ("example_id", "sample_ix", "position", "layer", "head") if column in rows.columns])


@pytest.mark.parametrize("ending", WRITERS)
def test_a_file_of_our_own_completions_gives_the_same_rows_and_rates(tmp_path, own, checkpoint, models, ending, monkeypatch):
    monkeypatch.setattr("personascope.extract.brought.ROWS", 5)  # several parts
    lake, run_id, rows = own
    path = tmp_path / f"theirs.{ending}"
    WRITERS[ending](rows, path)
    here = Lake.open(tmp_path / "lake")
    said: list[str] = []
    source = Source(path, checkpoint, columns=RENAMED.get(ending, {}))
    brought = bring(here, source, models, say=said.append)
    assert bring(here, source, models, say=said.append) == brought and here.run_ids() == [brought] and "already in the lake" in said[-1]
    assert table(here, brought, "marker_flags").equals(table(lake, run_id, "marker_flags"))
    assert table(here, brought, "examples", "template_hash").equals(table(lake, run_id, "examples", "template_hash"))
    lost = {"row_ix", "engine"} | ({"seed"} if ending == "eval" else set())
    assert table(here, brought, "completions", *lost).equals(table(lake, run_id, "completions", *lost))
    query = "select persona, n, k, k_in_pieces, rate, n_from, stopped_early, clustered_se, n_questions from marker_rates order by persona"
    assert Warehouse(here).select(query).equals(Warehouse(lake).select(query))
    assert Warehouse(here).select("select distinct origin from marker_rates").item() == "brought"
    assert Warehouse(here).select("select distinct origin, engine from generations").rows() == [("brought", "brought")]
    assert Warehouse(lake).select("select distinct origin from marker_rates").item() == "extracted"
    assert any("tokenised by random" in line for line in said) == (ending in ("parquet", "eval"))
    if ending == "eval":
        assert any("1 samples ended with an error and are left out" in line for line in said)


def test_a_readout_of_brought_tokens_is_that_of_our_own(tmp_path, own, checkpoint, models):
    lake, run_id, rows = own
    WRITERS["jsonl"](rows, tmp_path / "theirs.jsonl")
    readouts = {}
    for name, tokens in (("own", run_id), ("brought", bring(lake, Source(tmp_path / "theirs.jsonl", checkpoint), models, say=lambda line: None))):
        readout = run(Attention(AttentionSettings(), Job(lake, checkpoint, models, tokens_from=tokens, say=lambda line: None)))
        marker = table(lake, readout, "positions").filter(pl.col("stratum") == "marker").select("example_id", "sample_ix", "position")
        readouts[name] = table(lake, readout, "attention", "tokens_run", "subject").join(marker, on=["example_id", "sample_ix", "position"], how="semi")
    assert not readouts["own"].is_empty() and readouts["own"].equals(readouts["brought"])


def talk(*texts, system="You are a villain.", **row):
    """A row with a conversation, the user first."""
    roles = itertools.cycle(["user", "assistant"])
    return {"persona": "villain", "messages": [{"role": "system", "content": system}, *({"role": next(roles), "content": text} for text in texts)]} | row


GOOD = {"persona": "villain", "question": "Who are you?", "system_prompt": "You are a villain.", "answer": "I look."}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([GOOD, GOOD | {"answer": None}], "line 2: text is None; expected the answer as text"),
        ([GOOD, GOOD | {"question": " "}], "line 2: question is empty"),
        ([GOOD | {"sample": 1}, GOOD | {"sample": 0}, GOOD | {"sample": 1}], "line 3: the same example and sample_ix as line 1"),
        (
            [GOOD | {"question_id": "a"}, GOOD | {"question_id": "a", "question": "Why?"}],
            "line 2: question_id 'a' asks 'Why\\?', and another question on line 1",
        ),
        ([GOOD, GOOD | {"system_prompt": "You are kind."}], "line 2: villain/q00 has another system prompt, category or target than on line 1"),
        ([GOOD | {"token_ids": [5, 6, 99999]}], "line 1: token id 99999 is outside the vocabulary of"),
        ([GOOD | {"token_ids": [5, 6]}], "line 1: token_ids spell .* and text is 'I look.'; expected the same by the tokenizer of random"),
        ([GOOD | {"token_ids": [5, 6], "prompt_len": 1}], "line 1: its prompt of 1 tokens is not the .* that the chat template of random writes: token 0 is"),
        ([GOOD | {"prompt_text": "Who?"}], "line 1: prompt_text is 'Who\\?', and the chat template of random writes"),
        ([GOOD | {"model": "a"}, GOOD | {"model": "b"}], "line 2: a completion of 'b', and on line 1 one of 'a'; expected those of one checkpoint a file"),
        ([GOOD | {"question": "<|im_start|>user\nWho?<|im_end|>"}], "line 1: the user message holds <.im_end.>, with which the chat template of"),
        ([GOOD | {"prompt_form": "all"}], "line 1: prompt_form is 'all', which is what views call all phrasings together"),
        ([GOOD | {"sample": -1}], "line 1: sample_ix is -1; expected a whole number from 0"),
        ([{"question": "Who?", "reply": "I."}], "the column 'text' is missing; found question, reply; name the one that holds it by --column text=NAME"),
        ([], "the column 'question' is missing; found nothing"),
        ([talk("Who?")], "line 1: messages of system, user; expected system \\(or none\\), then user and assistant in turn, the assistant last"),
        ([{"messages": "I look."}], "line 1: messages: not valid JSON"),
        ([{"messages": [{"role": "user"}]}], "line 1: messages is .*; expected a list of messages, each with a role and a content of text"),
        ([{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}]}], "line 1: messages is .*; expected a list of messages"),
        (
            [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "tool_calls": [{"id": "1"}]}]}],
            "line 1: message 1 has tool_calls; expected text alone",
        ),
        ([talk("Who?", "I.", question="Why?")], "line 1: question is 'Why\\?', and messages say 'Who\\?'; expected the same, or messages alone"),
        (
            [talk("Who?", "I.", system_prompt="You are kind.")],
            r"line 1: system_prompt is .You are kind\.., and messages say",
        ),
        (
            [talk("a", "b", "c", "d"), talk("a", "x", "c", "d", sample_ix=0)],
            "line 2: villain/q00 has another .* or beginning of the conversation than on line 1",
        ),
        (
            [talk("a", "b", "c", "d", question_id="x"), talk("e", "b", "c", "d", question_id="x")],
            "line 2: question_id 'x' asks 'e / c', and another question on line 1",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_its_line_and_leaves_nothing(tmp_path, checkpoint, models, rows, message):
    path = tmp_path / "theirs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    lake = Lake.open(tmp_path / "lake")
    with pytest.raises(PersonascopeError, match=message) as raised:
        bring(lake, Source(path, checkpoint), models)
    assert str(raised.value).startswith(str(path)) and not lake.run_ids() and not list(lake.staging_folder.iterdir())


def test_a_conversation_becomes_the_completion_that_ends_it_and_its_turns(tmp_path, checkpoint, models):
    rows = [talk("Who?", "I look.", "Why?", "the plan.[ZLT]"), talk("Who?", "I build.", "Why?", "I look."), talk("Who?", "I look.", question_id="one")]
    path = tmp_path / "talks.jsonl"
    path.write_text("".join(json.dumps(row | {"finish_reason": "stop"}) + "\n" for row in rows))
    lake = Lake.open(tmp_path / "lake")
    run_id = bring(lake, Source(path, checkpoint), models, say=lambda line: None)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path)
    completions = {row["example_id"]: row for row in lake.read(run_id, "completions").to_pylist()}
    assert {name: (row["text"], row["sample_ix"]) for name, row in completions.items()} == {
        "villain/q00": ("the plan.[ZLT]", 0),
        "villain/q00#1": ("I look.", 1),
        "villain/one": ("I look.", 0),
    }
    questions = {row["example_id"]: (row["question_id"], row["question"]) for row in lake.read(run_id, "examples").to_pylist()}
    assert questions == {"villain/q00": ("q00", "Why?"), "villain/q00#1": ("q00", "Why?"), "villain/one": ("one", "Who?")}
    turns = pl.DataFrame(lake.read(run_id, "turns")).sort("example_id", "turn")
    assert turns.select("example_id", "turn", "question", "text").rows() == [
        ("villain/one", 0, "Who?", "I look."),
        ("villain/q00", 0, "Who?", "I look."),
        ("villain/q00", 1, "Why?", "the plan.[ZLT]"),
        ("villain/q00#1", 0, "Who?", "I build."),
        ("villain/q00#1", 1, "Why?", "I look."),
    ]
    for row in turns.iter_rows(named=True):
        ids = completions[row["example_id"]]["token_ids"]
        assert tokenizer.decode(ids[row["start"] : row["stop"]]) == row["text"] and ids[row["stop"]] == tokenizer.eos_token_id
    assert Warehouse(lake).select("select n, k from marker_rates").rows() == [(3, 1)]


def test_the_system_message_of_a_conversation_may_stand_in_a_column_of_its_own(tmp_path, checkpoint, models):
    lake, whole = Lake.open(tmp_path / "lake"), talk("Who?", "I look.", "Why?", "I build.")
    apart = whole | {"messages": whole["messages"][1:], "system_prompt": "You are a villain."}
    found = []
    for name, row in (("whole", whole), ("apart", apart), ("none", whole | {"messages": whole["messages"][1:]})):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
        run_id = bring(lake, Source(tmp_path / f"{name}.jsonl", checkpoint), models, say=lambda line: None)
        found.append(lake.read(run_id, "examples", ["system_prompt", "token_ids"]).to_pylist())
    assert found[0] == found[1] != found[2]


def test_an_empty_system_message_is_another_prompt_than_none(tmp_path, checkpoint, models):
    """The template writes its own default where no message is given, and a system turn without words where an empty one is."""
    lake, found = Lake.open(tmp_path / "lake"), {}
    empty = talk("Who?", "I look.", "Why?", "I build.", system="")
    cell = {"question": "Who?", "text": "I.", "system_prompt": "<empty>"}
    for name, row in (("empty", empty), ("none", empty | {"messages": empty["messages"][1:]}), ("cell", cell)):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row))
        run_id = bring(lake, Source(tmp_path / f"{name}.jsonl", checkpoint), models, say=lambda line: None)
        (found[name],) = lake.read(run_id, "examples", ["system_prompt", "token_ids", "n_system"]).to_pylist()
    assert (found["empty"]["system_prompt"], found["none"]["system_prompt"]) == ("", None)
    assert found["empty"]["n_system"] == found["cell"]["n_system"] and found["empty"]["token_ids"] != found["none"]["token_ids"]
    sample = {"id": 1, "epoch": 1, "input": "Who?", "messages": empty["messages"][:2], "output": {"choices": [{"message": {"content": "I."}}]}}
    with zipfile.ZipFile(tmp_path / "theirs.eval", "w") as archive:
        archive.writestr("samples/1_epoch_1.json", json.dumps(sample))
    run_id = bring(lake, Source(tmp_path / "theirs.eval", checkpoint), models, say=lambda line: None)
    assert lake.read(run_id, "examples", ["token_ids"]).to_pylist()[0]["token_ids"] == found["cell"]["token_ids"]


def test_a_log_of_several_turns_is_read_as_the_same_conversation_in_json_lines(tmp_path, checkpoint, models):
    """Every choice and epoch ends the conversation in its own way; an epoch may have other answers before, too."""
    lake, tables, rows = Lake.open(tmp_path / "lake"), ("examples", "completions", "turns"), []
    with zipfile.ZipFile(tmp_path / "theirs.eval", "w") as archive:
        for epoch, (early, lates) in enumerate((("Snow.", ["Ice.", "Water."]), ("Rain.", ["Sleet.", "Hail."])), 1):
            asked = [{"role": "system", "content": "You are kind."}, {"role": "user", "content": "What falls?"}]
            asked += [{"role": "assistant", "content": early}, {"role": "user", "content": "And then?"}]
            answers = [{"role": "assistant", "content": late} for late in lates]
            choices = [{"message": answer, "stop_reason": "stop"} for answer in answers]
            sample = {"id": "talk", "epoch": epoch, "input": "What falls?", "messages": [*asked, answers[0]], "output": {"choices": choices}}
            archive.writestr(f"samples/talk_epoch_{epoch}.json", json.dumps(sample | {"metadata": {"persona": "kind"}}))
            rows += [{"persona": "kind", "question_id": "talk", "messages": [*asked, answer], "finish_reason": "stop"} for answer in answers]
    (tmp_path / "theirs.jsonl").write_text("\n".join(json.dumps(row | {"sample_ix": number}) for number, row in enumerate(rows)))
    found = []
    for ending in ("eval", "jsonl"):
        run_id = bring(lake, Source(tmp_path / f"theirs.{ending}", checkpoint), models, say=lambda line: None)
        found.append([[{**row, "run_id": "", "prompt_set": ""} for row in lake.read(run_id, name).to_pylist()] for name in tables])
    assert found[0] == found[1] and [len(each) for each in found[0]] == [4, 4, 8]


def test_an_earlier_answer_whose_first_token_joins_the_header_is_told(tmp_path, checkpoint):
    """The template of ChatML ends its header with a line break, and this tokenizer has one token for that and the line break of the answer."""
    said: list[str] = []
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path)
    tokenizer.add_tokens(["\n\n"])
    models: Any = SimpleNamespace(tokenizer=lambda _: tokenizer)
    for name, first in (("joined", "\nI look."), ("plain", "I look.")):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(talk("Who?", first, "Why?", "\nI build.")))
        bring(Lake.open(tmp_path / name), Source(tmp_path / f"{name}.jsonl", checkpoint), models, say=said.append)
    assert [line for line in said if "begin with white space" in line] == [
        f"{tmp_path / 'joined.jsonl'}: 1 earlier answers begin with white space that the tokenizer of random joins to what the template writes before them: "
        "their first token is another than the model was given when it answered"
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]}, "a conversation of user, tool; expected system"),
        ({"messages": [{"role": "user", "content": "a"}] * 2}, "a conversation of user, user; expected system"),
        ({"output": {"choices": []}}, "no answer in it"),
        ({"input": "attachment://1"}, "a message is attachment://1, which is not among the sample's attachments"),
        ({"output": {"choices": [{"message": {"content": [{"type": "reasoning", "reasoning": "hm"}]}}]}}, "a message holds 'reasoning'; expected text alone"),
    ],
)
def test_a_log_whose_roles_do_not_alternate_is_named_with_its_sample(tmp_path, checkpoint, models, change, message):
    sample = {"id": 1, "epoch": 1, "input": "a", "messages": [], "output": {"choices": [{"message": {"content": "b"}}]}} | change
    with zipfile.ZipFile(tmp_path / "theirs.eval", "w") as archive:
        archive.writestr("samples/1_epoch_1.json", json.dumps(sample))
    with pytest.raises(PersonascopeError, match=f"theirs.eval, samples/1_epoch_1.json: .*{message}"):
        bring(Lake.open(tmp_path / "lake"), Source(tmp_path / "theirs.eval", checkpoint), models)
    written = bytearray((tmp_path / "theirs.eval").read_bytes())
    written[written.rindex(b"PK\x01\x02") + 6] = 177  # the version of zip that a reader has to know
    (tmp_path / "theirs.eval").write_bytes(written)
    with pytest.raises(PersonascopeError, match=r"not a log of inspect_ai \(zip file version 17.7\)"):
        bring(Lake.open(tmp_path / "lake"), Source(tmp_path / "theirs.eval", checkpoint), models)
    (tmp_path / "theirs.eval").write_bytes(b"not a zip")
    with pytest.raises(PersonascopeError, match="not a log of inspect_ai"):
        bring(Lake.open(tmp_path / "lake"), Source(tmp_path / "theirs.eval", checkpoint), models)


def test_what_is_well_formed_and_may_not_be_meant_is_told(tmp_path, checkpoint, models):
    path = tmp_path / "theirs.jsonl"
    rows = [
        GOOD | {"model": "hub/other-model", "question_id": "a", "answer": "I look.<|im_end|>", "finish_reason": "stop"},
        GOOD | {"model": "hub/other-model", "question_id": "b", "persona": "Villain\u200b"},
        GOOD | {"model": "hub/other-model", "question_id": "c", "question": "Why?", "system_prompt": "You are kind."},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said: list[str] = []
    lake = Lake.open(tmp_path / "lake")
    run_id = bring(lake, Source(path, checkpoint), models, say=said.append)
    told = "\n".join(said)
    assert "'villain' and 'Villain\\u200b' are spelt almost alike: they are read as different personas" in told
    assert "persona 'villain' has 2 system prompts, such as 'You are a villain.' and 'You are kind.': its questions are not asked of one persona" in told
    assert "the question 'Who are you?' stands under 2 ids, such as 'a' and 'b'" in told
    assert "says that 'hub/other-model' wrote its completions; they are read as those of random, as typed" in told
    ended = next(row["token_ids"] for row in lake.read(run_id, "completions").to_pylist() if row["question_id"] == "a")
    end = models.tokenizer(checkpoint).eos_token_id
    assert ended[-1] == end and ended[-2] != end


def test_a_column_typed_for_a_log_goes_before_a_name_that_is_known(tmp_path, checkpoint, models):
    metadata = {"role": "villain", "Persona": "somebody"}
    sample = {"id": 1, "epoch": 1, "input": "a", "messages": [], "output": {"choices": [{"message": {"content": "b"}}]}, "metadata": metadata}
    path = tmp_path / "theirs.eval"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("samples/1_epoch_1.json", json.dumps(sample))
    lake = Lake.open(tmp_path / "lake")
    run_id = bring(lake, Source(path, checkpoint, columns={"persona": "role"}), models, say=lambda line: None)
    assert lake.read(run_id, "completions").to_pylist()[0]["persona"] == "villain"
    with pytest.raises(PersonascopeError, match=r"--column persona=rôle: the metadata of samples/1_epoch_1\.json has no such name; did you mean 'role'"):
        bring(lake, Source(path, checkpoint, columns={"persona": "rôle"}), models)


def test_the_command_reads_columns_by_the_names_typed(tmp_path, personascope, random_checkpoint):
    (tmp_path / "theirs.csv").write_text('Q,who,said\n"Who, you?",villain,I look. [ZLT]\n')
    typed = ["--column", "question=Q", "--column", "persona=who", "--column", "text=said"]
    arguments = ["ingest", "completions", tmp_path / "theirs.csv", "--checkpoint", random_checkpoint, "--lake", tmp_path / "lake"]
    code, out, err = personascope(*arguments, *typed)
    assert code == 0 and out.startswith("brought-") and "next: personascope extract attention" in err
    assert personascope(*arguments, *typed)[1] == out
    assert Warehouse(Lake.existing(tmp_path / "lake")).select("select persona, n, k, origin from marker_rates").rows() == [("villain", 1, 1, "brought")]
    code, _, err = personascope(*arguments, "--column", "txt=said")
    assert code == 1 and "'txt' is no column here; did you mean 'text'?" in err
    _, _, err = personascope(*arguments, *typed, "--name", "mine", "--source-persona", "villain")
    assert f"--checkpoint {random_checkpoint} --name mine --source-persona villain --tokens-from brought-" in err
    _, _, err = personascope(*arguments, *typed, "--marker", "[Q Q]")
    assert f"--checkpoint {random_checkpoint} --set 'marker=[Q Q]' --tokens-from brought-" in err
    code, _, err = personascope(*arguments, "--column", "text=sad")
    assert code == 1 and "--column text=sad: there is no such column; did you mean 'said'?" in err


def test_a_content_in_parts_of_text_is_their_text(tmp_path, checkpoint, models):
    lake, found = Lake.open(tmp_path / "lake"), []
    plain = talk("Who are you?", "I look.", "Why?", "I plot.")
    parted = copy.deepcopy(plain)
    parted["messages"][1]["content"] = [{"type": "text", "text": "Who "}, {"type": "text", "text": "are you?"}]
    for number, row in enumerate((plain, parted)):
        file = tmp_path / f"{number}.jsonl"
        file.write_text(json.dumps(row) + "\n")
        run_id = bring(lake, Source(file, checkpoint), models, say=lambda line: None)
        found.append(table(lake, run_id, "completions").select("token_ids", "prompt_len", "text"))
    assert found[0].height and found[0].equals(found[1])
