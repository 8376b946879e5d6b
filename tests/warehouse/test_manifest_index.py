"""A process that opens a lake finds the manifests of its runs in one file, and the manifest itself wherever a run is in another state than it was."""

import json
import os
import shutil

import pytest
from lakes import count, write

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store import committed, manifest_index
from personascope.warehouse.store.lake import Lake


@pytest.fixture
def lake(tmp_path, monkeypatch) -> Lake:
    monkeypatch.setattr(manifest_index, "YOUNG_NS", 0)
    monkeypatch.setattr(manifest_index, "WORTH", 1)
    made = Lake.open(tmp_path / "lake")
    for number in range(4):
        write(made, f"c{number}", number + 1)
    return made


@pytest.fixture
def parsed(monkeypatch) -> list[str]:
    """The runs whose own manifest is opened from here on."""
    found: list[str] = []
    read = committed.read_manifest

    def noted(path):
        found.append(path.parent.name)
        return read(path)

    monkeypatch.setattr(committed, "read_manifest", noted)
    return found


def as_another_process() -> None:
    for memory in (committed._met, committed._indexed, committed._marks, committed._listings):
        memory.clear()
    committed._parsed.cache_clear()


def test_another_process_opens_one_file_and_finds_the_same(lake, parsed):
    expected = lake.contents()
    as_another_process()
    parsed.clear()
    found = lake.contents()
    assert not parsed and found.runs == expected.runs and dict(found.runs) == dict(expected.runs) and not parsed
    for name in expected.runs:
        mine, theirs = found.runs.met[name], expected.runs.met[name]
        assert (mine.form, list(mine.rows), list(mine.bytes), mine.state) == (theirs.form, list(theirs.rows), list(theirs.bytes), theirs.state)
    assert found.holders == expected.holders and found.by_form == expected.by_form


def test_a_manifest_that_changed_since_it_was_met_is_not_written(lake, parsed):
    """Another process makes a run anew, or deletes it, between the look at the lake and the writing of the index."""
    expected = lake.contents()
    met = dict(committed._met[str(lake.runs_folder)])
    one, two, *others = met
    path = lake.run_folder(one) / "run.json"
    path.write_text(path.read_text() + " ")
    path = lake.run_folder(two) / "run.json"
    path.write_text(path.read_text().replace('"finish_reason"', '"finish_REASON"', 1))
    manifest_index.write(lake.runs_folder, met)
    found = manifest_index.read(lake.runs_folder, committed.read_manifest)
    assert sorted(found) == sorted(others) and all(found[name].met.manifest == expected.runs[name] for name in others)


def _in_place(lake: Lake, run: str) -> None:
    """Another manifest of the same size in the same file, with the time that it had."""
    path = lake.run_folder(run) / "run.json"
    before, document = path.stat(), path.read_text()
    path.write_text(document.replace('"finish_reason"', '"finish_REASON"', 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def _restored(lake: Lake, run: str) -> None:
    kept = shutil.copytree(lake.run_folder(run), lake.root / "copy")
    shutil.rmtree(lake.run_folder(run))
    kept.rename(lake.run_folder(run))


STEPS = {
    "comes": (lambda lake, run: write(lake, "later", 9), 1),
    "goes": (lambda lake, run: lake.delete(run), 0),
    "forced anew": (lambda lake, run: write(lake, lake.manifest(run).checkpoint or "", 8, force=True), 1),
    "renamed": (lambda lake, run: lake.run_folder(run).rename(lake.run_folder(f"{run}-x")), 1),
    "damaged": (lambda lake, run: (lake.run_folder(run) / "run.json").write_text("{"), 1),
    "its manifest gone": (lambda lake, run: (lake.run_folder(run) / "run.json").unlink(), 1),
    "written over in place": (_in_place, 1),
    "restored from a copy": (_restored, 1),
}


@pytest.mark.parametrize("step", STEPS)
def test_what_happens_to_a_run_is_seen_by_another_process_and_the_others_are_not_opened(lake, parsed, step):
    lake.contents()
    change, n_opened = STEPS[step]
    change(lake, lake.run_ids()[1])
    as_another_process()
    parsed.clear()
    found = lake.contents()
    assert len(set(parsed)) == n_opened
    runs = dict(found.runs)
    shutil.rmtree(manifest_index._file(lake.runs_folder).parent)
    as_another_process()
    expected = lake.contents()
    assert runs == dict(expected.runs) and found.strays == expected.strays and count(lake) == sum(run.tables["completions"].rows for run in runs.values())


@pytest.mark.parametrize(
    "damage",
    [lambda text: text[:-1], lambda text: text[:50], lambda text: b"", lambda text: text.replace(b"completions", b"completionz", 1), lambda text: b"x" + text],
)
def test_a_damaged_index_is_as_good_as_none(lake, parsed, damage):
    expected = dict(lake.contents().runs)
    file = manifest_index._file(lake.runs_folder)
    file.write_bytes(damage(file.read_bytes()))
    as_another_process()
    parsed.clear()
    assert dict(lake.contents().runs) == expected and sorted(parsed) == list(expected)


def test_a_manifest_that_is_damaged_in_the_index_alone_is_read_from_the_run(lake, parsed):
    expected = dict(lake.contents().runs)
    file = manifest_index._file(lake.runs_folder)
    content = file.read_bytes()
    file.write_bytes(content[:-200] + bytes(200))
    as_another_process()
    parsed.clear()
    assert dict(lake.contents().runs) == expected and parsed == [list(expected)[-1]]


def test_a_reader_keeps_the_index_that_it_opened(lake):
    expected = dict(lake.contents().runs)
    as_another_process()
    found = lake.contents()
    manifest_index._file(lake.runs_folder).unlink()
    one = next(iter(expected))
    lake.delete(one)
    assert dict(found.runs) == expected
    shutil.rmtree(lake.root / "runs")
    assert found.runs[one] == expected[one]


def test_a_manifest_that_is_gone_when_it_is_asked_for_is_a_sentence(lake):
    lake.contents()
    file = manifest_index._file(lake.runs_folder)
    as_another_process()
    found, one = lake.contents(), lake.run_ids()[0]
    with file.open("r+b") as index:
        index.truncate(300)
    (lake.run_folder(one) / "run.json").unlink()
    with pytest.raises(PersonascopeError, match=f"run {one}: its manifest .* has just gone"):
        found.runs[one].model_dump()


def test_what_changed_a_moment_ago_is_not_put_into_the_index(lake, monkeypatch):
    shutil.rmtree(manifest_index._file(lake.runs_folder).parent, ignore_errors=True)
    monkeypatch.setattr(manifest_index, "YOUNG_NS", 1 << 60)
    write(lake, "young")
    as_another_process()
    lake.contents()
    assert manifest_index.read(lake.runs_folder, committed._reread) == {}


def test_few_runs_are_worth_no_index_and_many_are_when_a_share_of_them_is_new():
    assert not manifest_index.is_worth_writing(63, 63) and manifest_index.is_worth_writing(64, 64)
    assert not manifest_index.is_worth_writing(149, 3000) and manifest_index.is_worth_writing(150, 3000)


def test_the_index_holds_a_list_of_the_runs_for_whoever_looks(lake):
    lake.contents()
    first, _, rest = manifest_index._file(lake.runs_folder).read_bytes().partition(b"{")
    document, _ = json.JSONDecoder().raw_decode("{" + rest.decode())
    assert [run[0] for run in document["runs"]] == lake.run_ids() and len(first) == 100
