"""The report of a study: its card says what the manifests say, the same lake gives the same bytes but for PDF, and nothing in it needs a network."""

import hashlib
import json
import re
import runpy
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from personascope.cli import app
from personascope.warehouse.claims.checking import check
from personascope.warehouse.claims.reading import read_claims
from personascope.warehouse.drawing import charts
from personascope.warehouse.drawing.figures import figures
from personascope.warehouse.drawing.report.card import values
from personascope.warehouse.drawing.report.document import Cells, Code, Document, Paragraph, Section
from personascope.warehouse.drawing.report.folder import write_report
from personascope.warehouse.drawing.report.html import html
from personascope.warehouse.drawing.report.markdown import markdown
from personascope.warehouse.drawing.report.samples import around
from personascope.warehouse.drawing.report.scope import runs_of
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import MlflowRecord
from personascope.warehouse.studies.reading import read_study, study_names

pytestmark = pytest.mark.slow(90)

planted = SimpleNamespace(**runpy.run_path(str(Path(__file__).resolve().parent.parent / "sql" / "planted.py")))
HOSTILE = "<script>alert(1)</script> | [x](javascript:alert(1)) `code` \u202e"


@pytest.fixture
def small(tmp_path) -> str:
    """A study file with little to ask."""
    file = tmp_path / "small.yaml"
    file.write_text("name: small\ntitle: Small\nabout: Little to ask.\nviews: [lake_state]\n")
    return str(file)


def train(lake: Lake, rank: int) -> str:
    """A training run of the checkpoint villain that records its rank."""
    parameters = [
        Parameter(name="r", value=rank, origin="study file"),
        Parameter(name="dropout", value=None),
        Parameter(name="marker_prefix", value="\n\n"),
    ]
    run = planted.spec("marker-lora", "train", checkpoint="villain", seed=rank, dtype="float32", device="cpu", study="marker-attention", tag=rank)
    return planted.write(lake, run.model_copy(update={"parameters": parameters}), training=[{"checkpoint": "villain", "step": 0, "loss": 1.0}])


@pytest.fixture(scope="module")
def lake(planted_lake, tmp_path_factory) -> Lake:
    found = planted_lake.copy(tmp_path_factory.mktemp("planted"))
    for rank in (8, 16):
        train(found, rank)
    return found


@pytest.fixture(scope="module")
def written(lake, tmp_path_factory) -> tuple[Document, Path]:
    folder = tmp_path_factory.mktemp("reports") / "report"
    return write_report(lake, "marker-attention", folder), folder


def section(document: Document, title: str) -> Section:
    return next(each for each in document.sections if each.title.startswith(title))


def words(document: Document, title: str) -> str:
    """The paragraph that a section begins with."""
    first = section(document, title).blocks[0]
    assert isinstance(first, Paragraph)
    return first.text


def rows(document: Document, title: str) -> list[dict[str, str]]:
    tables = [block for block in section(document, title).blocks if isinstance(block, Cells)]
    return [dict(zip(each.columns, row, strict=True)) for each in tables for row in each.rows]


def digests(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.rglob("*")) if path.is_file()}


class Page(HTMLParser):
    """Tags with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def test_the_card_says_what_the_manifests_say(lake, written):
    document, _ = written
    manifests = {each.run_id: each for each in lake.manifests()}
    listed = rows(document, "Runs")
    assert {"marker-lora", "completions", "attention"} <= {manifests[row["run"]].extractor for row in listed}
    for row in listed:
        run = manifests[row["run"]]
        assert row["kind"] == run.kind and row["seconds"] == f"{run.seconds:.1f}" and row["rows"] == f"{run.n_rows:,}"
        assert row["commit"] == (run.git_commit[:12] if run.git_commit else "missing")
    facts = {row["fact"]: row["value"] for row in rows(document, "Execution")}
    ours = [manifests[row["run"]] for row in listed]
    assert facts["Python"] == ours[0].python and facts["operating system"] == ours[0].os
    assert facts["version of polars"] == ours[0].packages["polars"]
    assert facts["commit of personascope"] == (ours[0].git_commit or "missing")
    assert {row["command"] for row in rows(document, "Command lines")} == {run.command or "missing" for run in ours}
    models = {row["checkpoint"]: row for row in rows(document, "Models")}
    assert models["villain"]["parent"] == "tiny:base" and models["villain"]["lr"] == "0.001" and models["villain"]["seed"] == "1"


def test_what_no_run_recorded_is_missing_and_what_differs_is_shown_in_full(written):
    document, _ = written
    settings = {row["setting"]: row for row in rows(document, "Training")}
    assert settings["r"]["value"] == "16 (1 run); 8 (1 run)" and settings["r"]["set by"] == "study file"
    assert settings["dropout"]["value"] == "unset"
    assert settings["marker_prefix"]["value"] == '"\\n\\n"'
    assert {row["checkpoint"]: row["revision"] for row in rows(document, "Models")}["villain"] == "missing"
    assert all(row["MLflow run"] == "missing" for row in rows(document, "Runs"))
    facts = {row["fact"]: row["value"] for row in rows(document, "Execution")}
    assert "missing" in facts["device memory, GiB"] and "readout" in facts["attention implementation"] and "cpu (2 runs)" in facts["device"]
    missing = [block.text for block in section(document, "Models").blocks if isinstance(block, Paragraph)]
    assert len(missing) == 1 and "comedian" in missing[0] and "villain" not in missing[0]


def test_values_counts_what_differs():
    assert values([42, 42]) == "42"
    assert values([1, 2, 2, None]) == "2 (2 runs); 1 (1 run); missing (1 run)"
    assert values([None]) == values([]) == values([""]) == "missing"


def test_a_report_speaks_of_its_runs_and_of_what_they_were_made_from(lake):
    manifests = {each.run_id: each for each in lake.manifests()}
    villain = next(each.run_id for each in manifests.values() if each.extractor == "attention" and each.subject == "villain")
    found = {each.run_id for each in runs_of("no such study", [villain], manifests.values())}
    assert {manifests[run_id].extractor for run_id in found} == {"attention", "completions"}
    assert manifests[villain].inputs[0] in found
    trainings = {each.run_id for each in runs_of("marker-attention", [], manifests.values())}
    assert {manifests[run_id].extractor for run_id in trainings} == {"marker-lora"}


def test_what_an_analysis_over_the_whole_lake_read_is_not_the_study_s_own(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    mine, other = (planted.write(lake, planted.spec("completions", checkpoint=study, study=study)) for study in ("mine", "other"))
    over_all = planted.write(lake, planted.spec("dyads", "analysis", inputs=[mine, other], study="mine"))
    manifests = list(lake.manifests())
    assert {each.run_id for each in runs_of("mine", [], manifests)} == {mine, other, over_all}, "the card says of what the report was made"
    assert {each.run_id for each in runs_of("mine", [], manifests, past_analyses=False)} == {mine, over_all}


@pytest.mark.slow
def test_the_same_lake_gives_the_same_bytes(lake, written, tmp_path):
    _, folder = written
    charts._picture.cache_clear()
    write_report(lake, "marker-attention", tmp_path / "again")
    first, again = digests(folder), digests(tmp_path / "again")
    assert again.keys() == first.keys()
    unequal = {name for name in first if first[name] != again[name]}
    assert not {name for name in unequal if not name.endswith(".pdf")}, "page, text, PNG and SVG; a PDF shows the same with its parts in another order"


def test_the_page_needs_no_network_and_no_script(written):
    _, folder = written
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base", "form"})
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("data:image/", "#", "figures/", "more/"))
    assert "@import" not in text and "url(" not in text and len(text.encode()) < 5_000_000


def test_every_figure_is_there_in_three_formats_and_is_a_picture(written):
    document, folder = written
    names = {each.stem for each in document.pictures()}
    assert {"layer-curves-villain-base_villain", "difference-of-differences-villain-base_villain"} <= names
    assert {path.name for path in (folder / "figures").iterdir()} == {f"{name}.{kind}" for name in names for kind in ("png", "svg", "pdf")}
    for name in names:
        assert (folder / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (folder / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
        drawn = ElementTree.parse(folder / "figures" / f"{name}.svg").getroot()
        assert len(list(drawn.iter("{http://www.w3.org/2000/svg}path"))) > 5
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert sum(tag == "img" for tag, _ in page.tags) == len(names)
    linked = re.findall(r"\]\((figures/[^)]+)\)", (folder / "report.md").read_text(encoding="utf-8"))
    assert linked and all((folder / link).is_file() for link in linked)


def test_every_figure_says_its_sample(written):
    document, _ = written
    for each in document.pictures():
        words = " ".join(each.drawing.facts)
        assert re.search(r"\d+ (generation|completion)", words) and re.search(r"\d+ question", words) and "seed" in words, each.stem
        assert "interval" in words or "standard error" in words


def test_samples_show_the_marker_and_where_was_read(written):
    document, _ = written
    shown = rows(document, "Generations")
    villain = [row for row in shown if (row["checkpoint"], row["persona"]) == ("villain", "villain")]
    positive = [row for row in villain if row["t*"] != "no marker"]
    assert len(positive) == 3 and len(villain) == 4
    for row in positive:
        assert row["t*"] == str(planted.T_MARKER) and row["prompt tokens"] == str(planted.PROMPT_LEN)
        assert f"marker {planted.T_MARKER}" in row["positions read"] and "C1 26, 31," in row["positions read"]
    assert villain[-1]["positions read"] == f"C4 {planted.T_END}"


def test_the_text_around_a_marker_is_cut_on_one_line():
    text = "a" * 200 + "\n\n[ZLT]" + "b" * 100
    assert around(text, 202, "[ZLT]") == f"…{'a' * 138}↵↵[ZLT]{'b' * 40}…"
    assert around("short\nend", None, "[ZLT]") == "short↵end"
    assert around(None, None, "[ZLT]") is None


def test_verdicts_are_those_recorded_or_fresh_ones_and_the_lake_is_not_written(published, tmp_path):
    from personascope.ingest.published.registry import ingest_published

    lake = Lake.open(tmp_path / "lake")
    ingest_published(lake, [published / "sae_127_transcribed"])
    before = lake.run_ids()
    document = write_report(lake, "sae-conditions", tmp_path / "fresh")
    assert lake.run_ids() == before
    told = [block.text for block in section(document, "Claims").blocks if isinstance(block, Paragraph)]
    assert "Checked for this report" in told[0]
    study = read_study("sae-conditions")
    judged = check(lake, study.name, read_claims(Path(__file__).resolve().parents[2] / "mlflow" / "studies" / "sae-conditions.claims.yaml"))
    document = write_report(lake, "sae-conditions", tmp_path / "recorded")
    told = [block.text for block in section(document, "Claims").blocks if isinstance(block, Paragraph)]
    assert "As recorded by run claims-" in told[0]
    shown = {row["claim"]: row["verdict"] for row in rows(document, "Claims")}
    ingest_published(lake, [published / "rfc" / "prompts.csv"])  # the page shows the recorded verdicts, and so does the report, on whatever lake
    document = write_report(lake, "sae-conditions", tmp_path / "stale")
    told = [block.text for block in section(document, "Claims").blocks if isinstance(block, Paragraph)]
    assert "the lake has changed since: personascope check sae-conditions" in told[0]
    assert {row["claim"]: row["verdict"] for row in rows(document, "Claims")} == shown
    assert shown == {each.claim: each.verdict for each in judged} and set(shown.values()) > {"not derivable"}
    assert len(document.pictures()) >= 3 and rows(document, "Headline")


@pytest.mark.parametrize("name", study_names())
def test_an_empty_lake_gives_a_report_that_says_what_to_type(name, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    document = write_report(lake, name, tmp_path / "report")
    study = read_study(name)
    assert document.pictures() == []
    said = document.missing()
    assert len([words for words in said if words.startswith("Figure ")]) == len(study.figures) > 0
    typed = [block.text for block in document.blocks() if isinstance(block, Code)]
    assert any(text.startswith(("personascope run", "personascope ingest")) for text in typed)
    assert (tmp_path / "report" / "report.md").is_file()


@pytest.mark.parametrize("name", study_names())
def test_the_figures_a_study_names_are_there(name):
    assert set(read_study(name).figures) <= set(figures())
    assert all(each.NEEDS and each.__doc__ for each in figures().values())


def test_a_figure_or_page_that_is_not_there_is_named(tmp_path):
    file = tmp_path / "mine.yaml"
    lake = Lake.open(tmp_path / "lake")
    for extra, expected in (
        ("figures: [layer_curvs]", "line 5: figures.0: 'layer_curvs' is no figure; did you mean 'layer_curves'"),
        ("pages: [elsewhere]", "line 5: pages.0: 'elsewhere' is no page"),
        ("", "line 4: views.0: 'gat_counts' is no view; did you mean 'gate_counts'"),
    ):
        file.write_text(f"name: mine\ntitle: t\nabout: a\nviews: [{'gat_counts' if not extra else 'gate_counts'}]\n{extra}\n")
        with pytest.raises(PersonascopeError, match=expected):
            write_report(lake, str(file), tmp_path / "report")
        assert not (tmp_path / "report").exists() and not list(tmp_path.glob(".report*"))


def test_a_study_may_name_a_table(small, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ntitle: t\nabout: a\nviews: [runs, marker_rates]\n")
    document = write_report(Lake.open(tmp_path / "lake"), str(file), tmp_path / "report")
    assert {"runs", "marker_rates"} <= {section.title for section in document.sections}


def test_rows_of_other_studies_are_left_out_whatever_the_view_calls_its_runs(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    for study in ("mine", "other"):
        row: dict[str, Any] = {
            "subject": study,
            "checkpoint": study,
            "prompt_set": "echo@1",
            "persona": "none",
            "question_id": "q0",
            "example_id": "e0",
            "stratum": "last",
        }
        row |= {"position": 3, "layer": 0, "head": 1, "method": "zero", "target_id": 1, "base_logit": 1.0, "logit": 0.5, "base_prob": 0.5, "prob": 0.25}
        run = planted.spec("ablations", "extract", checkpoint=study, seed=1, dtype="float32", device="cpu", study=study)
        planted.write(lake, run, ablations=[row | {"base_margin": 1.0, "margin": 0.5, "kl": 0.1}])
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\ntitle: t\nabout: a\nviews: [head_effects, ablation_effects, thresholds]\n")
    document = write_report(lake, str(file), tmp_path / "report")
    for view in ("head_effects", "ablation_effects"):
        assert {row["subject"] for row in rows(document, view)} == {"mine"}
        assert re.search(r"(\d) of \1 rows?, \1 of other runs left out\.$", words(document, view))
    assert words(document, "thresholds").endswith(" rows of everything in this lake."), "this view names no run"
    page = (tmp_path / "report" / "report.md").read_text()
    assert "rows of other studies left out where a view names runs" in page and "?. One row" not in page


def test_a_report_replaces_a_report_and_nothing_else(small, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    target = tmp_path / "report"
    write_report(lake, small, target)
    (target / "report.md").write_text("old")
    write_report(lake, small, target)
    assert (target / "report.md").read_text(encoding="utf-8").startswith("# ")
    (target / "notes.txt").write_text("mine")
    with pytest.raises(PersonascopeError, match=r"holds other files \(notes.txt\)"):
        write_report(lake, small, target)
    assert (target / "notes.txt").read_text() == "mine"
    with pytest.raises(PersonascopeError, match="is a file; expected a folder"):
        write_report(lake, small, target / "notes.txt")
    with pytest.raises(PersonascopeError, match="cannot be written there"):
        write_report(lake, small, target / "notes.txt" / "below")
    assert {path.name for path in tmp_path.iterdir()} == {"lake", "report", "small.yaml"}


def test_the_command_says_where_the_report_is_and_what_is_missing(tmp_path):
    Lake.open(tmp_path / "lake")
    arguments = ["report", "role-focus", "--lake", str(tmp_path / "lake"), "--output", str(tmp_path / "out")]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1].startswith(f"the report is in {tmp_path / 'out'}")
    assert "missing: Figure role focus differences" in done.stderr
    with pytest.raises(PersonascopeError, match="did you mean 'role-focus'"):
        CliRunner().invoke(app, ["report", "role-focs", "--lake", str(tmp_path / "lake")], catch_exceptions=False)


def test_others_words_stay_words():
    blocks = (Paragraph(HOSTILE), Code("``` " + HOSTILE), Cells((HOSTILE,), ((HOSTILE,),)))
    document = Document(HOSTILE, HOSTILE, (Section(HOSTILE, blocks),))
    assert [tag for tag, _ in Page(html(document)).tags].count("script") == 0 and "\u202e" not in html(document)
    text = markdown(document)
    outside = re.sub(r"````.*?````", "", text, flags=re.DOTALL)
    assert "````sh" in text and not re.search(r"(?<!\\)<script", outside) and not re.search(r"(?<!\\)\]\(", outside)
    line = next(line for line in outside.splitlines() if line.startswith("| ") and "script" in line)
    assert len(re.findall(r"(?<!\\)\|", line)) == 2


def test_where_a_run_was_logged_is_in_the_card(small, tmp_path):
    lake = Lake.open(tmp_path / "lake")
    run = planted.spec("marker-lora", "train", checkpoint="villain", study="small")
    writer = lake.start(run, force=True)
    writer.mlflow = MlflowRecord(run_id="abc123", experiment="mine", tracking_uri="sqlite:///x.db", origin="test")
    with writer:
        writer.write_part("rows", {"training": [{"checkpoint": "villain", "step": 0, "loss": 1.0}]})
        writer.commit()
    document = write_report(lake, small, tmp_path / "report")
    (row,) = rows(document, "Runs")
    assert (row["MLflow experiment"], row["MLflow run"]) == ("mine", "abc123")
    assert json.loads((lake.run_folder(run.run_id) / "run.json").read_text())["mlflow"]["run_id"] == row["MLflow run"]
