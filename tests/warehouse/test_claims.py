"""Claims: judged by one query each, recorded once, and called stale when the lake has moved on."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import yaml

from personascope.warehouse.asking.doctor import examine
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.claims.checking import check, judge
from personascope.warehouse.claims.nulls import expect_equivalence
from personascope.warehouse.claims.reading import Claim, read_claims
from personascope.warehouse.claims.registration import register
from personascope.warehouse.claims.syntax import Node, syntax
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.studies.reading import read_study

pytestmark = pytest.mark.slow(20)

UNKNOWN = "((device_memory_gib > 80) IS NOT NULL)"


def bring(lake: Lake, name: str, **checkpoint) -> str:
    spec = RunSpec(kind="ingest", extractor="checkpoint", version=1, identity={"name": name}, checkpoint=name)
    writer = lake.start(spec, force=True)
    writer.write_part("0", {"checkpoints": [{"id": name, "revision": "r", "lr": 0.398123, "n_layers": 28} | checkpoint]})
    writer.commit()
    return spec.run_id


@pytest.fixture
def lake(tmp_path):
    lake = Lake.open(tmp_path / "lake")
    bring(lake, "base")
    return lake


def claim(**changes) -> Claim:
    fields = {"id": "layers", "statement": "It has 28 layers", "source": "here", "query": "select n_layers as layers from checkpoints", "expected": 28}
    return Claim.model_validate(fields | changes)


def tree(query: str) -> Node:
    statement = syntax(query)
    assert statement is not None
    return statement


def verdict(lake: Lake, **changes):
    return judge(Warehouse(lake), "study", claim(**changes))


def test_a_confirmed_claim_says_what_was_measured_and_what_else_the_query_shows(lake):
    found = verdict(lake, query="select n_layers as layers_read, checkpoint as of_model, lr from checkpoints")
    assert (found.verdict, found.measured, found.expected, found.found, found.detail) == ("confirmed", "layers read", "28", "28", "of model base, lr 0.3981")


def test_an_imprecise_claim_says_at_which_rounding_or_scope_it_is_true(lake):
    rounded = verdict(lake, query="select lr from checkpoints", expected=Decimal("0.3984"))
    assert (rounded.verdict, rounded.found, rounded.detail) == ("imprecise", "0.398123", "true to 3 decimals only")
    narrower = {"scope": "the first half", "query": "select n_layers // 2 as layers, 'half' as how from checkpoints", "expected": 14}
    scoped = verdict(lake, expected=30, narrower=narrower)
    assert (scoped.verdict, scoped.found, scoped.detail) == ("imprecise", "28", "true for the first half: 14 (how half)")
    assert verdict(lake, expected=30, narrower=narrower | {"expected": 15}).verdict == "contradicted"


def test_a_contradicted_claim_gives_the_value_found(lake):
    found = verdict(lake, expected=32, query="select n_layers as layers, 'Qwen' as family from checkpoints")
    assert (found.verdict, found.expected, found.found, found.detail) == ("contradicted", "32", "28", "family Qwen")


@pytest.mark.parametrize("query", ["select null", "select 'nan'::double", "select [1, null]", "select 1 where false", "from (select 1 as x) limit 0"])
def test_a_claim_without_data_says_what_is_missing(lake, query):
    needed = verdict(lake, query=query, expected=[1, 2] if "[" in query else 1, needs="the other file")
    assert (needed.verdict, needed.found, needed.detail) == ("not derivable", None, "missing: the other file")
    unsaid = verdict(lake, query="select max(n_heads) from checkpoints join runs using (run_id)", expected=1)
    assert unsaid.detail == "missing: rows of checkpoints, runs"


def test_a_verdict_says_how_many_rows_were_looked_at_and_whether_they_mix_origins(lake):
    bring(lake, "other")
    counted = verdict(lake, query="select max(n_layers) from checkpoints where checkpoint = 'base'")
    assert (counted.verdict, counted.n_rows, counted.detail) == ("confirmed", 1, "")
    assert verdict(lake, query="select max(n_layers) from checkpoints").n_rows == 2
    mixed = verdict(
        lake, query="select count(distinct origin) from (select 'extracted' as origin from runs union all select 'published' from runs)", expected=2
    )
    assert mixed.detail == "mixes extracted and published rows"


@pytest.mark.parametrize(
    ("query", "expected", "missing"),
    [
        ("select count(*) from checkpoints where checkpoint = 'nosuch' and n_layers > 99", 0, "rows of checkpoints with checkpoint = 'nosuch'"),
        ("select coalesce(avg(lr), 0) from checkpoints where checkpoint in ('nosuch', 'none')", 0, "rows of checkpoints with checkpoint in ('nosuch', 'none')"),
        ("select coalesce(list(lr), []) from checkpoints where 'nosuch' = checkpoint", {"low": 0, "high": 1}, "rows of checkpoints with checkpoint = 'nosuch'"),
        ("select not exists (from checkpoints as c where c.checkpoint = 'nosuch') from runs", True, "rows of checkpoints with checkpoint = 'nosuch'"),
        ("with a as (select lr from checkpoints where checkpoint = 'nosuch') select count(*) from a", 0, "rows of checkpoints with checkpoint = 'nosuch'"),
        ("select (select count(*) from checkpoints where n_layers = 3) from runs", 0, "rows of checkpoints with n_layers = 3"),
        ("select count(*) from checkpoints where checkpoint like 'no%'", 0, "rows of checkpoints with (\"checkpoint\" ~~ 'no%')"),
        ("select count(*) from checkpoints where lr > 1", 0, "rows of checkpoints with (lr > 1)"),
        (
            "select count(*) from checkpoints where checkpoint in (select checkpoint from runs where kind = 'train')",
            0,
            "rows of checkpoints with (\"checkpoint\" = ANY(SELECT \"checkpoint\" FROM runs WHERE (kind = 'train'))) and kind = 'train'",
        ),
        ("select count(*) filter (checkpoint = 'nosuch') from checkpoints", 0, "rows of checkpoints with checkpoint = 'nosuch'"),
        ("select sum(case when checkpoint = 'nosuch' then 1 else 0 end) from checkpoints", 0, "rows of checkpoints with checkpoint = 'nosuch'"),
        (
            "select coalesce(max(lr) filter (lower(checkpoint) = 'nosuch'), 0) from checkpoints",
            0,
            "rows of checkpoints with (lower(\"checkpoint\") = 'nosuch')",
        ),
        ("select count(*) from regimes where regime = 'total_collapse'", 0, "rows of regimes"),
        ("select count(*) = 0 from regimes", True, "rows of regimes"),
        (
            "select count(*) from checkpoints as c where not exists (from regimes as r where r.checkpoint = c.checkpoint and r.source = 'nosuch')",
            1,
            "rows of regimes with source = 'nosuch'",
        ),
        ("select count(*) from runs where kind = 'ingest' and device_memory_gib > 80", 0, "rows of runs with kind = 'ingest' and " + UNKNOWN),
        ("select count(*) filter (device_memory_gib > 80) from runs", 0, f"rows of runs with {UNKNOWN}"),
        ("select sum(case when device_memory_gib > 80 then 1 else 0 end) from runs", 0, f"rows of runs with {UNKNOWN}"),
        ("select not exists (from runs where device_memory_gib > 80) from checkpoints", True, f"rows of runs with {UNKNOWN}"),
        ("select count(b.lr) from runs as a left join checkpoints as b on b.checkpoint = 'nosuch' and a.run_id = b.run_id", 0, "rows of runs, checkpoints"),
        ("select 'nosuch' not in (select checkpoint from runs where seconds > 1e6) from checkpoints", True, "rows of runs with checkpoint = 'nosuch'"),
    ],
)
def test_what_is_true_of_nothing_is_not_derivable(lake, query, expected, missing):
    found = verdict(lake, query=query, expected=expected)
    assert found.verdict == "not derivable" and found.detail == f"missing: {missing}"


@pytest.mark.parametrize(
    "query",
    [
        "select count(*) as deeper from checkpoints where checkpoint = 'base' and n_layers > 99",
        "select count(*) filter (lr > 1) as fast from checkpoints where checkpoint = 'base'",
        "select count(*) as late from runs where kind = 'ingest' and seconds > 1e6",
        "select count(n_heads) as heads from checkpoints",
        "select count(*) as both from runs where seconds > 1e6 and device_memory_gib > 80",
        "select count(*) as known from runs where device_memory_gib is not null",
    ],
)
def test_none_of_some_is_confirmed(lake, query):
    assert verdict(lake, query=query, expected=0).verdict == "confirmed"


@pytest.mark.parametrize(
    "query", ["select 28", "select 28 as layers from checkpoints", "select max(x) from (values (28)) as t(x)", "from range(28, 29)", "select max(28) from runs"]
)
def test_a_query_that_holds_its_own_answer_is_refused(lake, query):
    with pytest.raises(PersonascopeError, match="claim 'layers': the query's first column reads no table or view of the lake"):
        verdict(lake, query=query)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("select case when count(*) > 0 then 0.947 end from checkpoints", 0.947),
        ("select x from (select 0.947 as x, count(*) as n from checkpoints)", 0.947),
        ("with v as (select 0.947 as x) select min(v.x) from v, checkpoints", 0.947),
        ("select case when max(n_layers) > 1 then 'deep' else 'deep' end from checkpoints", "deep"),
    ],
)
def test_a_query_that_hands_on_its_own_answer_is_refused(lake, query, expected):
    with pytest.raises(PersonascopeError, match="expected a measurement, not its own answer"):
        verdict(lake, query=query, expected=expected)
    either = "select case when max(n_layers) > 1 then 'deep' else 'flat' end from checkpoints"
    assert verdict(lake, query=either, expected="deep").verdict == "confirmed"


@pytest.mark.parametrize("query", ["select round(avg({}))", "select avg({})::int", "select round(avg({}), 1)", "select [round(avg({}))::int]"])
def test_what_a_query_rounds_is_compared_as_it_was(lake, query):
    expected = Decimal("1") if "[" not in query else (Decimal("1"),)
    found = verdict(lake, query=f"{query.format('1.49 * n_layers / n_layers')} from checkpoints", expected=expected)
    assert found.verdict == "contradicted" and "1.49" in (found.found or "")
    assert verdict(lake, query=f"{query.format('n_layers / n_layers')} from checkpoints", expected=expected).verdict == "confirmed"


@pytest.mark.parametrize("query", ["select max(lr) from checkpoints using sample 1 rows", "select max(lr) + 0 * random() from checkpoints"])
def test_a_query_that_draws_at_random_is_refused(lake, query):
    with pytest.raises(PersonascopeError, match="draws at random"):
        verdict(lake, query=query, expected={"above": 0})


def test_a_narrower_scope_without_rows_is_contradicted(lake):
    narrower = {"scope": "nobody", "query": "select count(*) from checkpoints where checkpoint = 'nosuch'", "expected": 0}
    assert verdict(lake, expected=30, narrower=narrower).verdict == "contradicted"


@pytest.mark.parametrize(
    "query",
    [
        "select first(checkpoint) from checkpoints",
        "select list(checkpoint) from checkpoints",
        "select checkpoint from checkpoints limit 1",
        "select max(checkpoint) from (select distinct on (n_layers) checkpoint from checkpoints)",
    ],
)
def test_an_answer_that_hangs_on_the_order_of_rows_is_refused(lake, query):
    bring(lake, "other")
    with pytest.raises(PersonascopeError, match="when the same rows come in another order; expected an order by that decides"):
        verdict(lake, query=query, expected=["base", "other"] if "list" in query else "base")
    assert verdict(lake, query="select first(checkpoint order by checkpoint) from checkpoints", expected="base").verdict == "confirmed"


def test_a_claim_that_nothing_moved_asks_for_equivalence(lake, tmp_path):
    path = tmp_path / "null.yaml"
    path.write_text("claims: [{id: still, kind: null, statement: s, source: t, query: select 1, expected: 1}]")
    (read,) = read_claims(path)
    assert read.kind == "null"
    with pytest.raises(PersonascopeError, match="a claim of kind null asks for equivalence"):
        verdict(lake, kind="null")
    ends = "with i as (select -0.001 as low, lr as high from checkpoints) select max((low > -{0} and high < {0})::int) from i"
    with pytest.raises(PersonascopeError, match="asks for equivalence"):
        verdict(
            lake, kind="null", query="with i as (select -0.001 as low, lr as high from checkpoints) select max((low < 0 and high > 0)::int) from i", expected=1
        )
    assert verdict(lake, kind="null", query=ends.format(0.5), expected=1).verdict == "confirmed"
    assert verdict(lake, kind="null", query=ends.format(0.1), expected=1).verdict == "contradicted"


@pytest.mark.parametrize("condition", ["<> 'moved'", "in ('equivalent', 'cannot tell')", "not in ('moved')"])
def test_a_condition_that_lets_an_open_question_through_is_no_test_of_equivalence(condition):
    query = "select bool_and(movement {}) from diff_of_diffs"
    with pytest.raises(PersonascopeError, match="lets through what the intervals leave open; expected one on 'equivalent'"):
        expect_equivalence("still", tree(query.format(condition)))
    expect_equivalence("still", tree(query.format("= 'equivalent'")))


def test_one_end_of_an_interval_is_no_test_of_equivalence():
    both = "select bool_and(clustered_low > -0.01 {} clustered_high < 0.01) from diff_of_diffs"
    with pytest.raises(PersonascopeError, match="asks for equivalence"):
        expect_equivalence("still", tree(both.format("or")))
    expect_equivalence("still", tree(both.format("and")))


def test_a_claim_that_nothing_moved_is_left_open_by_wide_intervals_and_lacks_no_rows(lake):
    ends = "with i as (select -0.001 as low, lr as high from checkpoints) "
    told = ends + "select case when max(high) < {0} and min(low) > -{0} then 'equivalent' else 'cannot tell' end, count(*) as n from i"
    found = verdict(lake, kind="null", query=told.format(0.1), expected="equivalent", needs="steering")
    assert (found.verdict, found.found, found.n_rows) == ("not derivable", None, 1)
    assert found.detail == "cannot tell: the intervals leave open whether it moved; n 1"
    assert verdict(lake, kind="null", query=told.format(0.5), expected="equivalent").verdict == "confirmed"


def test_a_claim_without_data_still_says_for_what_it_holds(lake):
    narrower = {"scope": "layers", "query": "select n_layers from checkpoints"}
    assert verdict(lake, query="select n_heads from checkpoints", narrower=narrower).detail == "missing: rows of checkpoints; true for layers: 28"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"query": "drop view runs"}, "claim 'layers': the query must be exactly one SELECT"),
        ({"query": "select 1; select 2"}, "exactly one SELECT"),
        ({"query": "select * from read_csv('/etc/passwd')"}, "claim 'layers': .*disabled"),
        ({"query": "copy (select 1) to 'x.csv'"}, "exactly one SELECT"),
        ({"query": "select nothing"}, "claim 'layers': the query failed: Binder Error"),
        ({"query": "from range(3)"}, "gives 3 rows, expected one"),
        ({"query": "select 'text'"}, r"expected a number \(28\), the query gives text \(text\)"),
        ({"query": "select true"}, "the query gives true or false"),
        ({"query": "select [28]"}, "the query gives a list"),
        ({"query": "select [[28]]"}, "a list of lists"),
        ({"query": "select date '2026-01-01'"}, "the query gives date"),
    ],
)
def test_a_hostile_or_mistaken_query_is_one_sentence(lake, changes, message):
    with pytest.raises(PersonascopeError, match=message) as raised:
        check(lake, "study", [claim(**changes)])
    assert str(raised.value).startswith("claim 'layers': ") and "\n" not in str(raised.value)
    assert not [run for run in lake.run_ids() if run.startswith("claims-")]


def test_verdicts_are_recorded_and_unchanged_work_is_recognised(lake, monkeypatch):
    claims = [claim(), claim(id="more", expected=30)]
    first = check(lake, "study", claims)
    recorded = Warehouse(lake).select("select claim, verdict, expected, found, query, stale, new_runs from claims order by place").rows()
    query = "select n_layers as layers from checkpoints"
    assert recorded == [("layers", "confirmed", "28", "28", query, False, 0), ("more", "contradicted", "30", "28", query, False, 0)]
    (run_id,) = [run for run in lake.run_ids() if run.startswith("claims-")]
    manifest = lake.manifest(run_id)
    assert (manifest.kind, manifest.study, manifest.summary) == ("analysis", "study", {"confirmed": 1, "contradicted": 1})
    monkeypatch.setattr("personascope.warehouse.claims.checking.judge", lambda *_: pytest.fail("was judged again"))
    assert check(lake, "study", claims) == first


def test_verdicts_older_than_the_lake_are_stale_until_checked_again(lake):
    check(lake, "study", [claim(query="select count(*) from checkpoints", expected=1)])
    added = bring(lake, "other")
    state = "select verdict, stale, new_runs from claims"
    assert Warehouse(lake).select(state).rows() == [("confirmed", True, 1)]
    assert check(lake, "study", [claim(query="select count(*) from checkpoints", expected=1)])[0].verdict == "contradicted"
    assert Warehouse(lake).select(state).rows() == [("contradicted", False, 0)]
    lake.delete(added)
    assert Warehouse(lake).select(state).rows() == [("contradicted", True, -1)]
    assert check(lake, "study", [claim(query="select count(*) from checkpoints", expected=1)])[0].verdict == "confirmed"
    assert Warehouse(lake).select(state).rows() == [("confirmed", False, 0)]


def test_a_run_that_was_redone_makes_verdicts_stale(lake):
    check(lake, "study", [claim()])
    bring(lake, "base", n_layers=29)
    assert Warehouse(lake).select("select stale, new_runs from claims").rows() == [(True, 0)]
    assert check(lake, "study", [claim()])[0].found == "29"


def test_a_check_that_a_faster_clock_finished_is_told_and_stays_the_newest(lake, monkeypatch, capsys):
    """As where the clock was set back, or a colleague's run was pulled: views go by these times."""
    ahead = datetime.now(UTC) + timedelta(hours=2)
    with monkeypatch.context() as patch:
        patch.setattr("personascope.warehouse.store.writer.utc_now", lambda: ahead)
        check(lake, "study", [claim()])
    (older,) = [run for run in lake.run_ids() if run.startswith("claims-")]
    assert capsys.readouterr().err == ""
    verdicts = check(lake, "study", [claim(expected=30), claim(id="new")])
    assert [(each.verdict, each.standing) for each in verdicts] == [("contradicted", "not registered"), ("confirmed", None)]
    assert f"check {older} of study was finished at {ahead:%Y-%m-%d %H:%M} UTC, later than now by this clock" in capsys.readouterr().err
    assert Warehouse(lake).select("select run_id from claims").rows() == [(older,)]
    assert [(each.level, each.message.partition(" UTC")[0]) for each in examine(lake) if each.subject == "clock"] == [
        ("note", f"1 run was finished later than now by this clock, {older} at {ahead:%Y-%m-%d %H:%M}")
    ]
    document = json.loads((lake.run_folder(older) / "run.json").read_text())
    (lake.run_folder(older) / "run.json").write_text(json.dumps(document | {"finished": f"{ahead:%Y-%m-%dT%H:%M:%S}"}))
    assert [each.subject for each in examine(lake)].count("clock") == 1  # one that does not say UTC


def test_a_model_may_have_a_quote_in_its_name(lake):
    bring(lake, "o'brien")
    spoken_of = {"checkpoint": "o'brien", "id": "o'brien", "revision": "r"}
    found = verdict(lake, model=spoken_of, query="select n_layers as layers from checkpoints where checkpoint = $model")
    assert (found.verdict, found.query) == ("confirmed", "select n_layers as layers from checkpoints where checkpoint = 'o''brien'")


def test_whoever_may_only_read_a_lake_gets_verdicts_that_are_not_recorded(lake, monkeypatch, personascope, tmp_path):
    own = {"id": "layers", "statement": "It has 28 layers", "source": "here", "query": "select n_layers as layers from checkpoints", "expected": 28}
    (tmp_path / "own.yaml").write_text(yaml.safe_dump({"claims": [own]}))
    before = lake.run_ids()
    assert lake.is_writable
    monkeypatch.setattr(Lake, "is_writable", False)
    code, out, err = personascope("check", tmp_path / "own.yaml", "--lake", lake.root)
    assert code == 0 and "confirmed" in out and "these verdicts on own are not recorded in it" in err
    assert lake.run_ids() == before and not lake.catalogue_path.exists()


def test_checks_of_other_studies_and_other_claims_do_not_age_a_verdict(lake):
    check(lake, "one", [claim()])
    check(lake, "two", [claim(expected=30)])
    check(lake, "two", [claim(expected=31)])
    rows = Warehouse(lake).select("select study, expected, stale from claims order by study").rows()
    assert rows == [("one", "28", False), ("two", "31", False)]


def test_a_claim_says_whether_it_is_older_than_the_data_and_what_changed_since(tmp_path):
    lake = Lake.open(tmp_path / "registered")
    study = read_study("marker-attention")

    def extracted() -> None:
        spec = RunSpec(kind="extract", extractor="checkpoint", version=1, identity={}, study=study.name, checkpoint="base")
        writer = lake.start(spec, force=True)
        writer.write_part("0", {"checkpoints": [{"id": "base", "n_layers": 28}]})
        writer.commit()

    before = register(
        lake, study.name, study.model_dump(mode="json"), [claim(), claim(id="moved", expected=30), claim(id="reworded", statement="Of old")], study.name
    )
    extracted()
    assert (
        register(
            lake, study.name, study.model_dump(mode="json"), [claim(), claim(id="moved", expected=30), claim(id="reworded", statement="Of old")], study.name
        )
        == before
    )
    later = [claim(), claim(id="moved"), claim(id="reworded", query="select max(n_layers) as layers from checkpoints", statement="Of old"), claim(id="late")]
    assert [each.standing for each in check(lake, study.name, later)] == ["before the data", *["changed since the data"] * 2, "not registered"]
    register(lake, study.name, study.model_dump(mode="json"), later, study.name)
    verdicts = check(lake, study.name, later)
    assert [(each.standing, each.changed) for each in verdicts] == [
        ("before the data", None),
        ("changed since the data", "expected 30 at first"),
        ("changed since the data", "another query, or another way to compare"),
        ("after the data", None),
    ]
    assert Warehouse(lake).select("select standing, stale from claims order by place").rows() == [(each.standing, False) for each in verdicts]
