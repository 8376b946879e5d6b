"""What is wrong with a bucket, a stranger's or a damaged one, is said, and nothing of it gets into the lake."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from bucket_moves import push

from personascope.warehouse.buckets.opening import open_bucket
from personascope.warehouse.store.lake import Lake

pytestmark = pytest.mark.slow(5)


def manifest(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def plant(run: Path) -> None:
        document = json.loads((run / "run.json").read_text())
        change(document)
        (run / "run.json").write_text(json.dumps(document))

    return plant


def table(change: Callable[[Path], object]) -> Callable[[Path], object]:
    return lambda run: change(next(run.glob("completions-*")))


def linked(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/passwd")


def piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def renamed(run: Path) -> None:
    run.rename(run.with_name("completions-000000000000"))


def of_another_run(run: Path) -> None:
    other = next(each for each in run.parent.iterdir() if each != run)
    file = next(other.glob("completions-*"))
    shutil.copy(file, run / file.name)
    tables = json.loads((other / "run.json").read_text())["tables"]
    manifest(lambda document: document.update(tables=document["tables"] | {"completions": tables["completions"]}))(run)


@pytest.mark.parametrize(
    ("plant", "words", "is_left_out"),
    [
        (manifest(lambda it: it["tables"].update({"../../x": it["tables"]["completions"]})), "lists a table '../../x'", True),
        (manifest(lambda it: it["tables"]["completions"].update(blake2="../../../../etc/passwd")), "lists a table 'completions'", True),
        (manifest(lambda it: it["tables"]["completions"].update(bytes=-1)), "lists a table 'completions'", True),
        (manifest(lambda it: it.update(kind="magic")), "is damaged", True),
        (manifest(lambda it: it.pop("identity")), "is damaged", True),
        (lambda run: (run / "run.json").write_bytes(b"\xff"), "is damaged", True),
        (lambda run: (run / "run.json").write_bytes(b" " * (17 << 20)), "takes more than", True),
        (renamed, "is that of", True),
        (manifest(lambda it: it["tables"]["completions"].update(bytes=1 << 50)), "bytes free", False),
        (manifest(lambda it: it["tables"]["completions"].update(bytes=5)), "hash or size is another", False),
        (table(lambda file: file.write_bytes(file.read_bytes()[:-1] + b"x")), "hash or size is another", False),
        (table(lambda file: file.unlink()), "is not there", False),
        (table(linked), "cannot be read", False),
        (table(piped), "no regular file", False),
        (of_another_run, "holds rows of another run", False),
        (manifest(lambda it: it["tables"]["completions"]["columns"].append("mine")), "lacks the column mine", False),
        (manifest(lambda it: it.update(constants={"n_rows": "many", "seed": {"a": 1}}, seed=1 << 70)), "damaged", False),
    ],
)
def test_a_bucket_of_a_stranger_is_looked_at_like_a_file_of_one(lake, tmp_path, plant, words, is_left_out, personascope):
    bucket, other = tmp_path / "bucket", tmp_path / "other"
    push(lake, open_bucket(str(bucket)))
    run = bucket / "runs" / lake.run_ids()[0]
    plant(run)
    before = set(tmp_path.iterdir()) | {other}
    code, _, err = personascope("lake", "pull", bucket, "--lake", other)
    assert words in err and "Traceback" not in err and code == (0 if is_left_out else 1)
    assert run.name not in Lake(other).run_ids() and set(tmp_path.iterdir()) == before
    assert len(Lake(other).run_ids()) == (0 if words == "bytes free" else 1), "the other run comes, unless there seems to be no room for both"


def test_a_table_damaged_in_the_bucket_is_sent_once_more_by_the_command_that_a_pull_names(lake, tmp_path, personascope):
    bucket, other = tmp_path / "bucket", tmp_path / "other"
    push(lake, open_bucket(str(bucket)))
    run = bucket / "runs" / lake.run_ids()[0]
    table(lambda file: file.write_bytes(file.read_bytes()[:-1] + b"x"))(run)
    err = personascope("lake", "pull", bucket, "--lake", other)[2]
    assert "all others came (1)" in err and Lake(other).run_ids() == lake.run_ids()[1:]
    words = err.split("`personascope ")[1].split("`")[0].split()
    assert words == ["lake", "push", str(bucket), "--force", "--run", run.name]
    assert "1 run pushed" in personascope(*words, "--lake", lake.root)[2]
    assert personascope("lake", "pull", bucket, "--lake", other)[0] == 0 and Lake(other).run_ids() == lake.run_ids()


def test_runs_that_are_damaged_are_named_together(lake, tmp_path, personascope):
    bucket, other = tmp_path / "bucket", tmp_path / "other"
    push(lake, open_bucket(str(bucket)))
    for run_id in lake.run_ids():
        table(lambda file: file.write_bytes(b"x" * file.stat().st_size))(bucket / "runs" / run_id)
    code, _, err = personascope("lake", "pull", bucket, "--lake", other)
    first, second = lake.run_ids()
    assert code == 1 and f"run {first}: " in err and f"; damaged too: {second}; no other was to come" in err and not Lake(other).run_ids()
