"""Judges claims: asks the warehouse, holds the answer against what was published, and records the verdicts in the lake."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal

import polars as pl

from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.views import views
from personascope.warehouse.claims.judging import Agreement, Expected, Found, IncomparableError, compare, show
from personascope.warehouse.claims.reading import Claim, SpokenOf
from personascope.warehouse.claims.scope import populations, reads_the_lake, syntax
from personascope.warehouse.errors import PersonascopeError, one_line
from personascope.warehouse.settings import nearest
from personascope.warehouse.store.lake import PATIENCE, Lake
from personascope.warehouse.store.manifest import Manifest, RunSpec
from personascope.warehouse.store.schema import tables

EXTRACTOR = "claims"
VERSION = 2
TABLE = "claim_verdicts"
VerdictWord = Literal["confirmed", "imprecise", "contradicted", "not derivable"]
VERDICTS: tuple[VerdictWord, ...] = ("confirmed", "imprecise", "contradicted", "not derivable")


@dataclass(frozen=True)
class Verdict:
    """What the data say of one claim; `measured` is the name of what the query gives, `found` is None where it gave nothing.

    `model` is the checkpoint that was asked where the sentence speaks of one, `replication` says that it is another than that one.
    """

    study: str
    claim: str
    verdict: VerdictWord
    statement: str
    source: str
    measured: str
    expected: str
    found: str | None
    detail: str
    query: str
    model: str | None = None
    replication: bool | None = None


def check(lake: Lake, study: str, claims: list[Claim], sibling: str | None = None) -> list[Verdict]:
    """Verdicts on the claims of a study in their order, recorded in a run of kind `analysis`; claims and lake unchanged since the last check give its verdicts.

    With `sibling`, a checkpoint of the lake, the sentences that speak of a model are asked of that one instead: replications, recorded apart. Raises
    PersonascopeError that names the claim where a query fails, gives several rows, or gives a value of another kind than expected.
    """
    warehouse = Warehouse(lake)
    if sibling is not None:
        claims = _of_sibling(warehouse, study, claims, sibling)
    present = warehouse.select("select state, n_runs from lake_state").row(0, named=True)
    spec = _spec(study, claims, present["state"], sibling)
    if (known := _recorded(lake, spec)) is not None:
        return known
    verdicts = [judge(warehouse, study, claim, sibling) for claim in claims]
    with lake.start(spec, force=True, patience=PATIENCE) as writer:
        constants = {"lake_state": present["state"], "lake_runs": present["n_runs"]}
        rows = [vars(verdict) | constants | {"place": place} for place, verdict in enumerate(verdicts)]
        writer.write_part("verdicts", {TABLE: rows})
        writer.commit(dict(Counter(verdict.verdict for verdict in verdicts)))
    return verdicts


def look(lake: Lake, study: str, claims: list[Claim]) -> tuple[list[Verdict], Manifest | None]:
    """Verdicts as `check` gives them, recording none: those of the last check where claims and lake are unchanged, with its manifest, else fresh ones."""
    warehouse = Warehouse(lake)
    spec = _spec(study, claims, warehouse.select("select state from lake_state").item())
    known = _recorded(lake, spec)
    if known is not None:
        return known, lake.manifest(spec.run_id)
    return [judge(warehouse, study, claim) for claim in claims], None


def _of_sibling(warehouse: Warehouse, study: str, claims: list[Claim], sibling: str) -> list[Claim]:
    """The claims that can be asked of another checkpoint than their own."""
    known = warehouse.select("select distinct checkpoint from checkpoints order by checkpoint")["checkpoint"].to_list()
    if sibling not in known:
        raise PersonascopeError(f"checkpoint {sibling!r} is not in this lake; {nearest(sibling, known)}")
    asked = [claim for claim in claims if claim.model and claim.model.checkpoint != sibling]
    if not asked:
        raise PersonascopeError(f"study {study}: none of its {len(claims)} claims can be asked of {sibling}; expected claims that name the model they speak of")
    return asked


def _spec(study: str, claims: list[Claim], state: str, sibling: str | None = None) -> RunSpec:
    """The check of these claims on a lake in that state, where asked of a sibling that one's."""
    identity = {"study": study, "claims": [claim.model_dump() for claim in claims], "lake": state} | ({"sibling": sibling} if sibling else {})
    return RunSpec(kind="analysis", extractor=EXTRACTOR, version=VERSION, identity=identity, study=study, checkpoint=sibling)


def _recorded(lake: Lake, spec: RunSpec) -> list[Verdict] | None:
    """The verdicts of that check where it is the last one of its study and model."""
    if spec.study is None or spec.run_id != _last_check(lake, spec.study, spec.checkpoint):
        return None
    return [Verdict(**row) for row in lake.read(spec.run_id, TABLE, list(Verdict.__dataclass_fields__)).to_pylist()]


def judge(warehouse: Warehouse, study: str, claim: Claim, sibling: str | None = None) -> Verdict:
    """The verdict on one claim; on rows of another model than the one it speaks of only where that one is named as its sibling."""
    model = sibling or (claim.model.checkpoint if claim.model else None)
    foreign = _foreign(warehouse, claim.model) if claim.model and sibling is None else ""
    measured, found, evidence = ("", None, "") if foreign else _ask(warehouse, claim.id, claim.query, model)
    nothing = None if found is None else _over_nothing(warehouse, claim, model)
    if nothing is not None:
        found = None
    agreement = None if found is None else _compare(claim.id, claim.expected, found, claim.tolerance, claim.coarser)
    if found is not None:
        _expect_lake(claim.id, _with_model(claim.query, model))
    word: VerdictWord
    if agreement is not None:
        word, parts = ("confirmed" if agreement.decimals is None else "imprecise"), [agreement.words]
    else:
        narrower = "" if foreign else _narrower(warehouse, claim, model)
        if found is None:
            word, parts = "not derivable", [foreign or f"missing: {claim.needs or nothing or _rows_of(claim.query)}", narrower]
        else:
            word, parts = ("imprecise" if narrower else "contradicted"), [narrower]
    return Verdict(
        study=study,
        claim=claim.id,
        verdict=word,
        statement=claim.statement,
        source=claim.source,
        measured=measured,
        expected=show(claim.expected),
        found=None if found is None else show(found),
        detail="; ".join(part for part in [*parts, evidence] if part),
        query=_with_model(claim.query, model).strip(),
        model=model,
        replication=None if model is None else sibling is not None,
    )


def _foreign(warehouse: Warehouse, model: SpokenOf) -> str:
    """What rows of that name are where they are not of the model that is spoken of; empty where they are its own, or there are none."""
    others = warehouse.select(
        "select distinct id, revision from checkpoints where checkpoint = $name and (id <> $id or revision is distinct from $revision) order by all limit 1",
        {"name": model.checkpoint, "id": model.id, "revision": model.revision},
    )
    if others.is_empty():
        return ""
    identifier, revision = others.row(0)
    return f"{model.checkpoint} in this lake is {identifier} at {revision}; the sentence speaks of {model.id} at {model.revision}"


def _with_model(query: str, model: str | None) -> str:
    """The query with the name of the model in place of `$model`: what can be pasted into a shell."""
    return query if model is None else query.replace("$model", f"'{model}'")


def _expect_lake(name: str, query: str) -> None:
    """Refuses a query whose answer stands in itself."""
    statement = syntax(query)
    if statement is not None and not reads_the_lake(statement, {*views(), *tables()}):
        raise PersonascopeError(f"claim {name!r}: the query's first column reads no table or view of the lake; expected a measurement, not its own answer")


def _over_nothing(warehouse: Warehouse, claim: Claim, model: str | None) -> str | None:
    """The rows that the query's sums and counts are over, where there are none of them: nothing is true of nothing."""
    statement = syntax(_with_model(claim.query, model))
    for query, named in populations(statement) if statement else ():
        try:
            empty = warehouse.select(query).item() == 0
        except PersonascopeError:
            continue  # a subquery that only its surroundings give a meaning
        if empty:
            return f"rows of {', '.join(_named(query))} with {named}"
    return None


def _narrower(warehouse: Warehouse, claim: Claim, model: str | None) -> str:
    """For what smaller scope the claim is true, with the value found there; empty where there is none, or it is not true there either."""
    if claim.narrower is None:
        return ""
    _, found, evidence = _ask(warehouse, claim.id, claim.narrower.query, model)
    expected = claim.expected if claim.narrower.expected is None else claim.narrower.expected
    agreement = None if found is None else _compare(claim.id, expected, found, claim.tolerance, None)
    if found is None or agreement is None or agreement.decimals is not None:
        return ""
    _expect_lake(claim.id, _with_model(claim.narrower.query, model))
    return f"true for {claim.narrower.scope}: {show(found)}{f' ({evidence})' if evidence else ''}"


def _compare(name: str, expected: Expected, found: Found, tolerance: Decimal, coarser: int | None) -> Agreement | None:
    try:
        return compare(expected, found, tolerance, coarser)
    except IncomparableError as error:
        raise PersonascopeError(f"claim {name!r}: {error}") from error


def _ask(warehouse: Warehouse, name: str, query: str, model: str | None) -> tuple[str, Found | None, str]:
    """Name and value of the first column of the one row a query gives, None where it gives no row or NULL, and its further columns in words."""
    try:
        rows = warehouse.select(_with_model(query, model))
    except PersonascopeError as error:
        raise PersonascopeError(f"claim {name!r}: {one_line(error)}") from error
    if rows.height > 1:
        raise PersonascopeError(f"claim {name!r}: the query gives {rows.height} rows, expected one")
    measured = rows.columns[0].replace("_", " ")
    if rows.is_empty():
        return measured, None, ""
    first, *further = rows.row(0)
    return measured, _found(name, first), ", ".join(_evidence(rows.columns[1:], further))


def _evidence(names: list[str], values: list[Any]) -> Iterator[str]:
    for name, value in zip(names, values, strict=True):
        if value is not None:
            yield f"{name.replace('_', ' ')} {_in_words(value)}"


def _in_words(value: Any) -> str:
    if isinstance(value, (list, tuple, pl.Series)):
        return f"[{', '.join(map(_in_words, value))}]"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _found(name: str, value: Any) -> Found | None:
    """A value of the query; None for NULL, for a number that is not finite, and for a list that holds either."""
    if isinstance(value, (list, tuple, pl.Series)):
        elements = [_found(name, each) for each in value]
        if any(isinstance(each, tuple) for each in elements):
            raise PersonascopeError(f"claim {name!r}: the query gives a list of lists; expected a number, text, true or false, or a list of these")
        kept = tuple(each for each in elements if each is not None and not isinstance(each, tuple))
        return kept if len(kept) == len(elements) else None
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float, Decimal)):
        whole = isinstance(value, float) and value.is_integer()
        number = Decimal(int(value)) if whole else Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
        return number if number.is_finite() else None
    raise PersonascopeError(f"claim {name!r}: the query gives {type(value).__name__} ({value}); expected a number, text, true or false, or a list of these")


def _rows_of(query: str) -> str:
    """The tables and views a query reads: what an answer would need rows of."""
    named = _named(query)
    return f"rows of {', '.join(named)}" if named else "a value the query does not give"


def _named(query: str) -> list[str]:
    """The tables and views a query names."""
    known = {*views(), *tables()}
    return list(dict.fromkeys(word for word in re.findall(r"\w+", query) if word in known))


def _last_check(lake: Lake, study: str, sibling: str | None) -> str | None:
    """The check of the study that the view `claims` reads, or `replications` for a sibling."""
    checks = [(each.finished, each.run_id) for each in lake.manifests() if (each.extractor, each.study, each.checkpoint) == (EXTRACTOR, study, sibling)]
    return max(checks)[1] if checks else None
