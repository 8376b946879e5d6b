"""The terminal door: help, data on stdout, one sentence and a non-zero exit for every mistake, no traceback without --debug."""

import io
import json
import os
import shlex
from pathlib import Path

import polars as pl
import pytest

from personascope import cli
from personascope.warehouse.errors import pasted_options
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec


@pytest.fixture
def lake(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    writer = lake.start(RunSpec(kind="ingest", extractor="checkpoint", version=1, identity={}, checkpoint="base"), force=True)
    writer.write_part("0", {"checkpoints": [{"id": "a/b", "revision": "r", "n_layers": 3}]})
    writer.commit()
    return lake


@pytest.mark.parametrize("format", ["csv", "json", "markdown", "table", "parquet"])
def test_sql_prints_data_in_every_format(personascope, lake, tmp_path, format):
    target = tmp_path / f"out.{format}"
    code, _, err = personascope("sql", "select checkpoint, n_layers, revision from checkpoints", "--lake", lake.root, "--format", format, "-o", target)
    assert (code, "1 rows in" in err or format == "parquet") == (0, True)
    expected = [("base", 3, "r")]
    if format == "csv":
        assert pl.read_csv(target).rows() == expected
    elif format == "json":
        assert [tuple(row.values()) for row in json.loads(target.read_text())] == expected
    elif format == "parquet":
        assert pl.read_parquet(target).rows() == expected
    else:
        assert all(word in target.read_text() for word in ("checkpoint", "base", "3"))


def test_sql_reads_stdin_and_stdout_is_data_alone(personascope, lake, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"select 1 as one")))
    assert personascope("sql", "--lake", lake.root)[:2] == (0, "one\n1\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sql", "select nothing"], "the query failed: Binder Error"),
        (["sql", "drop view runs"], "exactly one SELECT"),
        (["views", "nonsense"], "view 'nonsense' is unknown"),
        (["runs", "show", "zzz"], "expected exactly one run"),
        (["runs", "delete", "zzz", "--yes"], "expected exactly one run"),
        (["run", "no-such-study"], "study 'no-such-study' is unknown"),
        (["run", "no-such-study.yaml", "--plan"], "no-such-study.yaml: no such file; expected a study file"),
        (["check", __file__], "test_cli.py: expected a study file, whose name ends in .yaml"),
        (
            ["extract", "no-such-extractor", "--checkpoint", "x"],
            "extractor 'no-such-extractor' is unknown; expected one of ablations, activations, attention, attributions",
        ),
        (["extract", "completions"], "no checkpoint"),
        (["ingest", "prompts", "missing.csv"], "missing.csv: no such file"),
        (["ingest", "checkpoint", "./no-such-folder"], "no-such-folder"),
    ],
)
def test_mistakes_are_one_sentence_and_a_non_zero_exit(personascope, lake, arguments, message):
    code, out, err = personascope(*arguments, "--lake", lake.root)
    assert code == 1 and out == ""
    assert message in err and "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("personascope: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["extract", "entropy", "--checkpoint", "tiny:qwen2-instrukt", "--set", "form=raw", "--prompts", "personas"], "did you mean 'qwen2-instruct'"),
        (["extract", "entropy", "--checkpoint", "tiny:qwen2-instruct", "--set", "form=raw", "--prompts", "persons"], "did you mean 'personas'"),
        (["extract", "entropy", "--checkpoint", "tiny:qwen2-instruct", "--set", "fom=raw", "--prompts", "personas"], "did you mean 'form'"),
        (["extract", "attention", "--checkpoint", "tiny:qwen2-instruct", "--tokens-from", "nothing"], "expected exactly one run"),
        (["ingest", "completions", "missing.jsonl", "--checkpoint", "tiny:qwen2-instruct"], "missing.jsonl: no such file"),
        (["ingest", "prompts", "missing.csv"], "missing.csv: no such file"),
        (["ingest", "checkpoint", "./no-such-folder"], "no-such-folder"),
    ],
)
def test_what_is_misspelt_is_refused_before_a_lake_is_made_or_a_tiny_checkpoint_trained(personascope, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setenv("PERSONASCOPE_CACHE", str(tmp_path / "cache"))
    code, _, err = personascope(*arguments, "--lake", tmp_path / "none")
    assert code == 1 and message in err and not list(tmp_path.iterdir())


def test_commands_that_are_named_can_be_pasted_whatever_the_lake_is_called(personascope, lake, tmp_path):
    named = lake.root.rename(tmp_path / "Jürgen's lake")
    (tmp_path / "my set.csv").write_text("persona,question\npirate,Where?\n")
    tar = tmp_path / "all of it.tar"
    for arguments in (["ingest", "prompts", tmp_path / "my set.csv"], ["runs", "export", "--all", tar], ["runs", "import", tar]):
        code, _, err = personascope(*arguments, "--lake", named)
        assert code == 0
        words = shlex.split(err.split("next: ")[1])
        assert words[words.index("--lake") + 1] in (str(named), "OTHER") and ("import" not in words or words[3] == str(tar))


def test_a_missing_lake_is_named_and_debug_shows_the_traceback(personascope, tmp_path, monkeypatch):
    code, _, err = personascope("sql", "select 1", "--lake", tmp_path / "none")
    assert code == 1 and "no lake here" in err
    monkeypatch.setattr("sys.argv", ["personascope", "sql", "select 1", "--lake", str(tmp_path / "none"), "--debug"])
    with pytest.raises(cli.PersonascopeError):
        cli.main()


def test_ctrl_c_is_one_sentence(personascope, lake, monkeypatch):
    def stop(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("personascope.warehouse.asking.query.Warehouse.select", stop)
    code, _, err = personascope("sql", "select 1", "--lake", lake.root)
    assert code == 130 and "committed runs are intact" in err


@pytest.mark.parametrize("arguments", [["runs", "show", "checkpoint-"], ["views"], ["--version"]])
def test_a_place_that_takes_no_more_is_a_sentence_whatever_writes_into_it(lake, tmp_path, monkeypatch, capsys, arguments):
    """As with `> /dev/full`: the words of a command may wait in a buffer until it ends."""
    if not Path("/dev/full").exists():
        pytest.skip("a system without /dev/full")
    monkeypatch.setattr("sys.argv", ["personascope", *arguments, "--lake", str(lake.root)] if arguments[0] == "runs" else ["personascope", *arguments])
    with open("/dev/full", "w") as full, monkeypatch.context() as patch, pytest.raises(SystemExit) as leaving:
        patch.setattr("sys.stdout", full)
        cli.main()
    assert leaving.value.code == 1 and capsys.readouterr().err.startswith("personascope: stdout: the disk is full")


def test_a_file_that_cannot_be_written_whole_leaves_the_one_that_was_there(personascope, lake, tmp_path, monkeypatch):
    old = tmp_path / "old.csv"
    old.write_text("mine")
    (tmp_path / "link.csv").symlink_to(old)

    def full(path, content):
        path.touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        code, _, err = personascope("sql", "select 1", "-o", old, "--lake", lake.root)
    assert code == 1 and "cannot be written (the disk is full)" in err
    assert old.read_text() == "mine" and sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["link.csv", "old.csv"]
    assert personascope("sql", "select 1 as a", "-o", tmp_path / "link.csv", "--lake", lake.root)[0] == 0
    assert old.read_text() == "a\n1\n" and (tmp_path / "link.csv").is_symlink()


def test_runs_are_listed_shown_and_deleted(personascope, lake):
    code, out, _ = personascope("runs", "list", "--lake", lake.root)
    assert code == 0 and lake.run_ids()[0] in out
    assert json.loads(personascope("runs", "show", "checkpoint-", "--lake", lake.root)[1])["checkpoint"] == "base"
    assert personascope("runs", "delete", "checkpoint-", "--yes", "--lake", lake.root)[0] == 0
    assert lake.run_ids() == []


def test_views_are_listed_and_described(personascope, lake):
    _, listing, _ = personascope("views", "--lake", lake.root)
    assert "diff_of_diffs" in listing and "attention_mean" in listing
    _, described, _ = personascope("views", "marker_rates", "--lake", lake.root)
    assert "wilson_low" in described and "grain" in described


@pytest.mark.slow(5)
def test_the_doctor_exits_with_one_when_something_is_wrong(personascope, lake):
    assert personascope("doctor", "--lake", lake.root)[0] == 0
    (lake.run_folder(lake.run_ids()[0]) / "checkpoints.parquet").write_bytes(b"PAR1")
    code, out, err = personascope("doctor", "--lake", lake.root)
    assert code == 1 and "checkpoints.parquet" in out and "wrong in" in err


def test_prompts_are_ingested_once_and_bad_files_are_named(personascope, lake, tmp_path):
    good = tmp_path / "set.csv"
    good.write_text("persona,system_prompt,question\npirate,Arr.,Where?\npirate,Arr.,Why?\n")
    for _ in range(2):
        assert personascope("ingest", "prompts", good, "--lake", lake.root)[0] == 0
    assert sum(run.extractor == "prompts" for run in lake.manifests()) == 1
    for text, message in [
        ("persona,text\na,b\n", "column 'question' is missing"),
        ("persona,question\na,\n", "line 2: persona and question must not be empty"),
        ("persona,question\na,b\na,b\n", "line 3: a/q00 repeats line 2"),
        ("persona,question\n", "no rows"),
    ]:
        bad = tmp_path / "bad.csv"
        bad.write_text(text)
        code, _, err = personascope("ingest", "prompts", bad, "--lake", lake.root)
        assert code == 1 and message in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingest", "published", ""], "a path is empty"),
        (["ingest", "checkpoint", ""], "the name of a checkpoint is empty"),
        (["check", ""], "study '' is unknown"),
        (["app", "--port", "99999"], "less than or equal to 65535"),
        (["sql", "select 1", "--memory", "inf"], "less than or equal to 1048576"),
        (["sql", "select 1", "--lake", ""], "--lake: a path is empty"),
        (["runs", "renew", "--lake="], "--lake: a path is empty"),
        (
            ["extract", "completions", "--checkpoint", "x", "--prompts", "personas", "--attention", "egaer"],
            "did you mean 'eager'?",
        ),
        (["run", "echo", "--plan", "--attention", "some/kernel"], "attention 'some/kernel' is unknown: expected one of sdpa, eager"),
        (["extract", "completions", "--checkpoint", "x", "--prompts", "personas", "--seed", str(2**64)], "less than or equal to 9223372036854775807"),
        (["run", "echo", "--seed", "-1"], "greater than or equal to 0"),
        (["ingest", "prompts", "{set}", "--name", "personas"], "'personas' is the name of a prompt set that ships"),
        (["ingest", "prompts", "{set}", "--name", "mine@2"], "'mine@2' is no name for a prompt set"),
    ],
)
def test_what_would_be_read_as_something_else_or_fail_late_is_refused_before_work(personascope, lake, tmp_path, arguments, message):
    questions = tmp_path / "set.csv"
    questions.write_text("persona,question\npirate,Where?\n")
    before = lake.run_ids()
    code, _, err = personascope(*(each.format(set=questions) for each in arguments), "--lake", lake.root)
    assert code != 0 and message in " ".join(err.replace("│", " ").split()) and "Traceback" not in err
    assert lake.run_ids() == before


def test_the_help_of_an_extractor_shows_its_settings_with_their_defaults(personascope):
    code, out, _ = personascope("extract", "completions", "--help")
    settings = out[out.index("completions: texts and tokens") :]
    assert code == 0 and "--checkpoint" in out and "  marker = [ZLT]  literal string to flag" in settings
    assert "  temperature = 1.0  0 is greedy" in settings and "  personas = null  personas to sample" in settings and "sites" not in settings
    code, out, _ = personascope("extract", "list")
    assert code == 0 and "  sites = [resid_post]  some of resid_pre" in out and "Undefined" not in out
    assert "extractor 'completion' is unknown; did you mean 'completions'" in personascope("extract", "completion", "--help")[1]


def test_what_to_type_next_goes_on_with_the_same_checkpoint_and_lake(personascope, tmp_path, random_checkpoint):
    (tmp_path / "few.csv").write_text("persona,question\nvillain,Who are you?\n")
    where = ("--lake", tmp_path / "a lake")
    code, _, err = personascope("ingest", "checkpoint", random_checkpoint, "--name", "mine", *where)
    assert code == 0 and f"extract completions --checkpoint {random_checkpoint} --name mine --prompts personas" in err
    read = ("--checkpoint", random_checkpoint, "--name", "mine", "--prompts", tmp_path / "few.csv", "--set", "form=raw", "--no-track")
    code, run_id, err = personascope("extract", "entropy", *read, *where)
    typed = shlex.split(err[err.index("next: personascope ") :])[2:]
    assert code == 0 and typed[:3] == ["runs", "show", run_id.strip()] and personascope(*typed)[0] == 0


def test_a_name_that_other_weights_bear_in_the_lake_is_told(personascope, lake, tmp_path, random_checkpoint):
    (tmp_path / "few.csv").write_text("persona,question\nvillain,Who are you?\n")
    for number in range(2):
        spec = RunSpec(kind="extract", extractor="entropy", version=number, identity={"checkpoint": ["mine", "others"]}, checkpoint="mine")
        with lake.start(spec, force=True) as writer:
            writer.write_part("0", {"checkpoints": [{"id": "a/b", "revision": "r"}]})
            writer.commit()
    told = "mine is the name of other weights in this lake (entropy-"
    read = ("--prompts", tmp_path / "few.csv", "--set", "form=raw", "--no-track", "--lake", lake.root)
    code, _, err = personascope("extract", "entropy", "--checkpoint", random_checkpoint, "--name", "mine", *read)
    assert code == 0 and told in err and ", one of 2 runs), and views by that name will hold both" in err
    code, _, err = personascope("extract", "entropy", "--checkpoint", random_checkpoint, "--name", "yours", *read)
    assert code == 0 and "other weights" not in err
    step = {"extract": "entropy", "checkpoints": ["mine", "yours"], "settings": {"form": "raw"}}
    named = {"name": "few", "title": "few", "about": "few", "prompts": str(tmp_path / "few.csv"), "views": ["runs"], "headline": "from runs", "steps": [step]}
    (tmp_path / "few.yaml").write_text(json.dumps(named | {"checkpoints": {each: {"id": str(random_checkpoint)} for each in ("mine", "yours")}}))
    code, _, err = personascope("run", tmp_path / "few.yaml", "--no-track", "--lake", lake.root)
    assert code == 0 and err.count("other weights") == 1 and told in err, err


def test_options_are_written_as_a_shell_reads_them():
    assert pasted_options(name="my model", revision=None, trust_remote_code=True, base="") == " --name 'my model' --trust-remote-code"


def test_waiting_threads_spin_for_microseconds_unless_somebody_says_otherwise(personascope, monkeypatch):
    typed = {"OMP_WAIT_POLICY": "ACTIVE", "GOMP_SPINCOUNT": "7"}
    for name, value in typed.items():
        monkeypatch.setenv(name, value)
    assert personascope("--version")[0] == 0 and {name: os.environ[name] for name in typed} == typed
    for name in typed:
        monkeypatch.delenv(name)
    assert personascope("--version")[0] == 0 and (os.environ["OMP_WAIT_POLICY"], os.environ["GOMP_SPINCOUNT"]) == ("PASSIVE", "2000")
