"""The attention extractor end to end on a random checkpoint: rows agree with eager attention, force-feeding reuses positions, killed runs resume."""

import multiprocessing
import signal
import time
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from typer.testing import CliRunner

from personascope.cli import app
from personascope.extract.extractors import midrun
from personascope.extract.extractors.attention import Attention, AttentionSettings
from personascope.extract.job import Job, run
from personascope.extract.texts.chat import region_codes, render, structural_mask
from personascope.extract.texts.marker import find_marker, marker_spellings
from personascope.extract.texts.regions import REGIONS
from personascope.extract.weights.on_device import Models
from personascope.ingest.prompts import load_prompt_set
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.analyses import refresh
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

pytestmark = pytest.mark.slow(40)

MARKER = "[ZLT]"


@pytest.fixture(scope="module")
def models():
    return Models(device="cpu", dtype="float32")


def write_completions(
    lake,
    folder,
    name="random",
    marker=" [ZLT]",
    positives=2,
    text="The printing press spread books and ideas across many towns and schools.",
    questions=6,
    repeats=3,
    changed=None,
    system_block: bool = True,
):
    """A completions run as the extractor writes it, with answers of our own: the first `positives` repeats hold the marker.

    `changed` maps (question number, repeat) to what the answer is instead, and how it ended.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    checkpoint = resolve(folder, name=name)
    spec = RunSpec(
        kind="extract",
        extractor="completions",
        version=1,
        identity={
            "marker": marker,
            "positives": positives,
            "name": name,
            "text": text,
            "size": [questions, repeats],
            "changed": repr(changed),
            "block": system_block,
        },
        checkpoint=name,
        subject=name,
        constants={"marker": MARKER},
    )
    writer = lake.start(spec)
    spellings = marker_spellings(tokenizer, MARKER)
    examples, completions, flags = [], [], []
    for number, prompt in enumerate(load_prompt_set("personas").of_personas(["villain"]).prompts[:questions]):
        prompted = render(tokenizer, prompt.system_prompt, prompt.question)
        examples.append(prompt.model_dump() | {"text": prompted.text, "token_ids": list(prompted.token_ids), "prompt_len": prompted.prompt_len})
        n_system = prompted.n_system if system_block else 0
        examples[-1] |= {"n_system": n_system, "n_user": prompted.n_user + prompted.n_system - n_system, "n_header": prompted.n_header}
        for sample_ix in range(repeats):
            answer = " ".join([text, *prompt.question.split()[: 1 + sample_ix]]) if text else ""
            answer, ended = (changed or {}).get((number, sample_ix), (answer + (marker if sample_ix < positives else ""), "stop"))
            token_ids = [*prompted.token_ids, *tokenizer.encode(answer, add_special_tokens=False), tokenizer.eos_token_id]
            key = {"persona": "villain", "question_id": prompt.question_id, "example_id": prompt.example_id, "sample_ix": sample_ix}
            completions.append(key | {"text": answer, "token_ids": token_ids, "prompt_len": prompted.prompt_len, "finish_reason": ended})
            completions[-1]["row_ix"] = sample_ix * questions + number
            flags.append(key | vars(find_marker(answer, token_ids, prompted.prompt_len, MARKER, spellings)))
    writer.write_part("0", {"examples": examples, "completions": completions, "marker_flags": flags, "checkpoints": [checkpoint.row()]})
    return writer.commit().run_id


def attention(lake, checkpoint, models, tokens_from, settings=None, **changes):
    job = Job(lake=lake, checkpoint=checkpoint, models=models, tokens_from=tokens_from, say=lambda line: None, **changes)
    return run(Attention(settings or AttentionSettings(), job))


def test_rows_agree_with_eager_attention_and_partition_the_row(tmp_path, random_checkpoint, models):
    lake = Lake.open(tmp_path / "lake")
    tokens = write_completions(lake, random_checkpoint)
    run_id = attention(lake, resolve(random_checkpoint, name="random"), models, tokens)
    rows: Any = pl.DataFrame(lake.read(run_id, "attention"))
    assert rows.select(pl.sum_horizontal(*REGIONS) - pl.col("row_sum")).to_series().abs().max() < 1e-5
    assert (rows["row_sum"] - 1).abs().max() < 1e-5

    model = AutoModelForCausalLM.from_pretrained(random_checkpoint, attn_implementation="eager").eval()
    tokenizer = AutoTokenizer.from_pretrained(random_checkpoint)
    completions = {(row["example_id"], row["sample_ix"]): row for row in lake.read(tokens, "completions").to_pylist()}
    examples = {row["example_id"]: row for row in lake.read(tokens, "examples").to_pylist()}
    for (example_id, sample_ix), part in list(rows.partition_by("example_id", "sample_ix", as_dict=True).items())[:4]:
        ids = completions[example_id, sample_ix]["token_ids"]
        example = examples[example_id]
        codes = region_codes(example["n_system"], example["n_user"], example["n_header"], structural_mask(ids, tokenizer, "decoded"))
        with torch.no_grad():
            weights = torch.stack(model(torch.tensor([ids]), output_attentions=True).attentions)[:, 0].double().numpy()
        for row in part.iter_rows(named=True):
            expected = weights[row["layer"], row["head"], row["position"]]
            for code, region in enumerate(REGIONS):
                assert row[region] == pytest.approx(expected[codes == code].sum(), abs=1e-5)
            assert row["bos"] == pytest.approx(expected[0], abs=1e-5)
            assert row["entropy"] == pytest.approx(-(expected[expected > 0] * np.log(expected[expected > 0])).sum(), abs=1e-4)
    assert len(rows) == len(rows.unique(["example_id", "sample_ix", "position", "layer", "head"]))


def test_force_feeding_reuses_the_positions_and_a_checkpoint_against_itself_differs_by_nothing(tmp_path, random_checkpoint, models):
    lake = Lake.open(tmp_path / "lake")
    tokens = write_completions(lake, random_checkpoint)
    own = attention(lake, resolve(random_checkpoint, name="random"), models, tokens)
    twin = attention(lake, resolve(random_checkpoint, name="twin"), models, tokens)
    assert {row["subject"] for row in lake.read(twin, "runs").to_pylist()} == {"twin_random"}
    drop = ["run_id", "subject", "checkpoint", "forced"]
    for table in ("positions", "attention"):
        pair = [lake.read(run_id, table) for run_id in (own, twin)]
        pair = [each.drop_columns([name for name in drop if name in each.column_names]) for each in pair]
        assert pair[0].equals(pair[1]), table
    assert set(lake.read(twin, "positions").column("forced").to_pylist()) == {True}
    assert set(lake.read(own, "positions").column("forced").to_pylist()) == {False}


def test_a_checkpoint_against_itself_has_no_difference_of_differences(tmp_path, random_checkpoint, models):
    lake = Lake.open(tmp_path / "lake")
    tokens = write_completions(lake, random_checkpoint)
    for name in ("random", "twin"):
        attention(lake, resolve(random_checkpoint, name=name), models, tokens)
    refresh(lake)
    warehouse = Warehouse(lake)
    n, largest, spread = warehouse.select("select count(*), max(abs(difference)), stddev_pop(trained_delta) from paired_deltas").row(0)
    assert (n, largest) == (12 * 3, 0.0) and spread > 0
    columns = "diff_of_diffs, clustered_sem, clustered_low, clustered_p, adjusted_p, adjusted_missing"
    rows = warehouse.select(f"select distinct {columns} from diff_of_diffs").rows()
    assert rows == [(0.0, 0.0, None, None, None, "no variation")]
    assert warehouse.select("select peak_shift, low, high, same_share from peak_shifts").rows() == [(0, 0, 0, 1.0)]
    heads = warehouse.select("select count(*), max(abs(selection_effect)), max(abs(evaluation_effect)), count(shrinkage) from head_selection").row(0)
    assert heads == (3 * 4, 0.0, 0.0, 0)


def test_batch_size_changes_nothing_beyond_rounding(tmp_path, random_checkpoint, models):
    frames = []
    for batch_tokens in (60, 100_000):
        lake = Lake.open(tmp_path / str(batch_tokens))
        run_id = attention(lake, resolve(random_checkpoint, name="random"), models, write_completions(lake, random_checkpoint), batch_tokens=batch_tokens)
        frames.append(pl.DataFrame(lake.read(run_id, "attention")))
    numbers = [*REGIONS, "bos", "entropy", "row_sum"]
    assert frames[0].drop(numbers).equals(frames[1].drop(numbers))
    assert (frames[0].select(numbers) - frames[1].select(numbers)).select(pl.all().abs().max()).max_horizontal().item() < 1e-5


def test_strata_of_positives_and_negatives_are_recorded(tmp_path, random_checkpoint, models):
    lake = Lake.open(tmp_path / "lake")
    run_id = attention(lake, resolve(random_checkpoint, name="random"), models, write_completions(lake, random_checkpoint), AttentionSettings(max_negatives=4))
    positions = pl.DataFrame(lake.read(run_id, "positions"))
    counts = dict(positions.group_by("stratum").len().rows())
    assert counts["marker"] == 12 and counts["C1"] == 60 and counts["C4"] == 4 and counts["t-9"] == 12 + 4
    assert set(positions.filter(pl.col("stratum") == "marker")["token"].str.strip_chars()) <= {"[", "[Z", "[ZL", "[ZLT", "[ZLT]"}
    summary = lake.manifest(run_id).summary
    assert summary["n_positives"] == 12 and summary["n_negatives"] == 4 and summary["max_row_sum_error"] < 1e-5
    assert any(name.startswith("self_check.") for name in summary)


def test_the_end_of_an_answer_and_the_steps_before_it_are_read_only_where_the_model_ended_it(tmp_path, random_checkpoint, models):
    """Cut answers and answers with part of the marker are neither positives nor negatives, and are counted."""
    lake = Lake.open(tmp_path / "lake")
    cut = {(0, 2): ("An answer that the token limit has cut in the mid", "length"), (1, 2): ("It goes on and on and on and", "length")}
    partial = {(2, 2): ("The answer ends in part of the marker [ZLT".replace(" [", "\n["), "stop")}
    tokens = write_completions(lake, random_checkpoint, changed=cut | partial | {(3, 2): ("A whole answer of some ten words, and breaks.\n\n", "stop")})
    run_id = attention(lake, resolve(random_checkpoint, name="random"), models, tokens)
    positions = pl.DataFrame(lake.read(run_id, "positions")).with_columns(pl.col("example_id").cast(pl.String))
    summary = lake.manifest(run_id).summary
    assert (summary["n_positives"], summary["n_negatives"], summary["n_negatives_cut_at_cap"], summary["n_partial_marker"]) == (12, 3, 2, 1)
    left_out = [f"villain/q{number:02d}" for number in range(3)]
    assert positions.filter(pl.col("example_id").is_in(left_out), pl.col("sample_ix") == 2).is_empty()

    completions = {(row["example_id"], row["sample_ix"]): row for row in lake.read(tokens, "completions").to_pylist()}
    tokenizer = AutoTokenizer.from_pretrained(random_checkpoint)
    for (example_id, sample_ix), part in positions.filter(pl.col("sample_ix") == 2).partition_by("example_id", "sample_ix", as_dict=True).items():
        row = completions[example_id, sample_ix]
        structural = structural_mask(row["token_ids"], tokenizer, "decoded")
        end = max(position for position in range(row["prompt_len"], len(row["token_ids"])) if not structural[position])
        expected = {"C4": end} | {f"t-{step}": end - step for step in range(1, 10)}
        assert dict(part.select("stratum", "position").rows()) == expected
    broken = positions.filter(pl.col("example_id") == "villain/q03", pl.col("sample_ix") == 2, pl.col("stratum") == "C4")
    assert "\n" not in broken["token"].item()


@pytest.fixture(scope="module")
def many(tmp_path_factory, random_checkpoint):
    """Sixty positives of twenty questions in a lake; those of the first repeat are the shortest, so that batches would take them last."""
    lake = Lake.open(tmp_path_factory.mktemp("many") / "lake")
    return lake, write_completions(lake, random_checkpoint, questions=20, repeats=4, positives=3)


def noting_keys(monkeypatch) -> list[str]:
    """The keys of what the extractor processes from now on, in its order."""
    process = Attention.process
    read: list[str] = []

    def noting(extractor, items):
        read.extend(item.key for item in items)
        return process(extractor, items)

    monkeypatch.setattr(Attention, "process", noting)
    return read


def test_the_gate_looks_at_the_first_fifty_in_the_order_of_the_run_and_agrees_with_its_view(many, random_checkpoint, models, monkeypatch):
    lake, tokens = many
    read = noting_keys(monkeypatch)
    said: list[str] = []
    job = Job(lake=lake, checkpoint=resolve(random_checkpoint, name="random"), models=models, tokens_from=tokens, batch_tokens=400, say=said.append)
    run_id = run(Attention(AttentionSettings(), job))
    rows = pl.DataFrame(lake.read(tokens, "completions")).sort("row_ix")
    first = [f"{example}#{sample}" for example, sample in rows.head(50).select("example_id", "sample_ix").rows()]
    assert set(read[:50]) == set(first) and len(read) == 80 and read[:50] != first

    found = lake.manifest(run_id).summary["midrun"]
    view = Warehouse(lake).select("from midrun_gate where run_id = $run order by layer", {"run": run_id})
    assert found["snr"] == pytest.approx(view["snr"].to_list(), rel=1e-4)
    assert (found["examples"], found["passing_windows"]) == (view["n"][0], view["n_passing_windows"][0]) and found["examples"] == 50
    assert any(line.startswith("random: mid-run gate") and "over the first 50 examples" in line for line in said)


@pytest.mark.parametrize("blocks", [True, False])
def test_prompts_without_a_system_block_are_told_of(tmp_path, random_checkpoint, models, blocks):
    lake = Lake.open(tmp_path / "lake")
    tokens = write_completions(lake, random_checkpoint, system_block=blocks)
    said: list[str] = []
    job = Job(lake=lake, checkpoint=resolve(random_checkpoint, name="random"), models=models, tokens_from=tokens, say=said.append)
    rows = pl.DataFrame(lake.read(run(Attention(AttentionSettings(), job)), "attention"))
    assert (rows["system"] > 0).any() == blocks
    assert sum("no prompt has content in a system block" in line for line in said) == (not blocks)


def test_the_gate_stops_only_when_asked_and_what_was_read_is_kept(tmp_path, many, random_checkpoint, models, monkeypatch):
    lake = Lake.open(tmp_path / "lake")
    tokens = write_completions(lake, random_checkpoint, questions=20, repeats=4, positives=3)
    checkpoint = resolve(random_checkpoint, name="random")
    monkeypatch.setattr(midrun, "SNR", 1e6)
    with pytest.raises(PersonascopeError, match=r"random: mid-run gate NOT passed over the first 50 examples: 0 of 3 layers .* stopped as stop_at_gate asks"):
        attention(lake, checkpoint, models, tokens, AttentionSettings(stop_at_gate=True))
    assert lake.run_ids() == [tokens]
    read = noting_keys(monkeypatch)
    run_id = attention(lake, checkpoint, models, tokens)
    assert len(read) == 30, "the fifty are not read again"
    assert lake.manifest(run_id).summary["midrun"]["passed"] is False
    monkeypatch.setattr(midrun, "SNR", 0.0)
    assert attention(lake, checkpoint, models, tokens, AttentionSettings(stop_at_gate=True), force=True) == run_id
    assert lake.manifest(run_id).summary["midrun"]["passed"] is True


def test_the_published_segmentation_is_typed_by_its_name(tmp_path, random_checkpoint, monkeypatch):
    monkeypatch.setattr("personascope.warehouse.asking.catalogue.build", lambda lake: None)  # not asked here, and slow
    lake = Lake.open(tmp_path / "lake")
    tokens = write_completions(lake, random_checkpoint, text="The printing press spread books [1]\n\nIdeas went across many towns and schools.")
    common = [
        "extract",
        "attention",
        "--checkpoint",
        str(random_checkpoint),
        "--name",
        "random",
        "--tokens-from",
        tokens,
        "--lake",
        str(lake.root),
        "--no-track",
    ]
    runs = {}
    for name in ("decoded", "published"):
        shown = CliRunner().invoke(app, [*common, "--device", "cpu", "--segmentation", name], catch_exceptions=False)
        runs[name] = shown.stdout.strip().splitlines()[-1]
        assert '"' + name + '"' in [row["value"] for row in lake.read(runs[name], "parameters").to_pylist() if row["name"] == "segmentation"]
    sums = {name: sum(lake.read(run_id, "attention_mean").column("assistant_structural").to_pylist()) for name, run_id in runs.items()}
    assert AutoTokenizer.from_pretrained(random_checkpoint).tokenize("1]\n\n")[-2:] == ["]Ċ", "Ċ"]
    assert runs["decoded"] != runs["published"] and sums["decoded"] > sums["published"], "a break fused with a bracket is content as published"
    with pytest.raises(PersonascopeError, match="'segmentation' is 'other'"):
        CliRunner().invoke(app, [*common, "--segmentation", "other"], catch_exceptions=False)


@pytest.mark.parametrize(
    ("options", "settings", "message"),
    [
        ({"positives": 0}, {}, "no completion of persona 'villain' holds the marker"),
        ({}, {"marker": "[QQQ]"}, r"its completions were searched for '\[ZLT\]', not for '\[QQQ\]'"),
        ({"text": "", "positives": 0}, {}, "every completion of persona 'villain' is empty"),
        ({"text": "Short."}, {}, "too short for five C1 control positions"),
        ({}, {"persona": "pirate"}, "no completions of persona 'pirate'; expected one of villain"),
    ],
)
def test_generations_that_cannot_be_read_are_refused_in_a_sentence(tmp_path, random_checkpoint, models, options, settings, message):
    lake = Lake.open(tmp_path / "lake")
    tokens = write_completions(lake, random_checkpoint, **options)
    with pytest.raises(PersonascopeError, match=message):
        attention(lake, resolve(random_checkpoint, name="random"), models, tokens, AttentionSettings(**({"persona": "villain"} | settings)))
    assert lake.run_ids() == [tokens]


def test_a_marker_that_fuses_with_its_neighbour_is_refused_by_name(tmp_path, random_checkpoint, models):
    lake = Lake.open(tmp_path / "lake")
    assert AutoTokenizer.from_pretrained(random_checkpoint).tokenize(".[") == [".["]
    tokens = write_completions(lake, random_checkpoint, marker=".[ZLT]")
    with pytest.raises(PersonascopeError, match="differently in context"):
        attention(lake, resolve(random_checkpoint, name="random"), models, tokens, AttentionSettings(persona="villain"))


def test_tokens_of_another_vocabulary_are_refused(tmp_path, random_checkpoint, models):
    lake = Lake.open(tmp_path / "lake")
    tokens = write_completions(lake, random_checkpoint)
    narrow = resolve(random_checkpoint, name="narrow").model_copy(update={"vocab_size": 100})
    with pytest.raises(PersonascopeError, match="outside its vocabulary of 100"):
        attention(lake, narrow, models, tokens)
    with pytest.raises(PersonascopeError, match="holds no completions"):
        attention(lake, narrow, models, attention(lake, resolve(random_checkpoint, name="random"), models, tokens))


CHILD = """
import torch
torch.set_num_threads(1)
from personascope.extract.extractors.attention import Attention, AttentionSettings
from personascope.extract.job import Job, run
from personascope.extract.weights.on_device import Models
from personascope.ingest.weights.checkpoints import resolve
from personascope.warehouse.store.lake import Lake
job = Job(
    lake=Lake.open({lake!r}),
    checkpoint=resolve({checkpoint!r}, name="random"),
    models=Models("cpu", "float32"),
    tokens_from={tokens!r},
    batch_tokens=70,
    say=lambda line: None,
)
run(Attention(AttentionSettings(), job))
"""


@pytest.mark.slow
def test_killing_the_extraction_at_ten_moments_gives_the_rows_of_an_undisturbed_run(tmp_path, random_checkpoint):
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["personascope.extract.extractors.attention", "personascope.ingest.weights.checkpoints", "transformers.models.qwen2.modeling_qwen2"]
    )

    def start(lake):
        process = context.Process(target=exec, args=(CHILD.format(lake=str(lake.root), checkpoint=str(random_checkpoint), tokens=tokens), {}))
        process.start()
        return process

    calm, lake = Lake.open(tmp_path / "calm"), Lake.open(tmp_path / "killed")
    tokens = write_completions(calm, random_checkpoint)
    assert write_completions(lake, random_checkpoint) == tokens
    start(calm).join()  # the fork server imports torch on its first start
    timed = Lake.open(tmp_path / "timed")
    write_completions(timed, random_checkpoint)
    began = time.monotonic()
    start(timed).join()
    expected = next(run_id for run_id in calm.run_ids() if run_id != tokens)

    duration, moments, kills = time.monotonic() - began, np.random.default_rng(0), 0
    while kills < 10:
        if expected in lake.run_ids():
            lake.delete(expected)
        process = start(lake)
        process.join(moments.uniform(0, duration))
        if process.is_alive():
            process.kill()
            process.join()
        assert process.exitcode in (0, -signal.SIGKILL)
        if process.exitcode == 0:
            duration *= 0.8  # the machine is faster than when it was timed: the next killers come sooner
        else:
            kills += 1
        assert set(lake.run_ids()) <= {tokens, expected}
    start(lake).join()
    for table in ("positions", "attention", "attention_mean"):
        assert lake.read(expected, table).equals(calm.read(expected, table))
    assert not any(Lake.open(lake.root).staging_folder.iterdir())
