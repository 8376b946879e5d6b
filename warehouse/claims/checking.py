"""Judges claims: asks the warehouse, holds the answer against what was published, and records the verdicts in the lake."""

import re
import sys
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any, Literal

from personascope.warehouse.asking.child import WarehouseApart
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.source import Asked
from personascope.warehouse.asking.views import lasting, views
from personascope.warehouse.claims.answering import Answer, answer_of, with_model
from personascope.warehouse.claims.judging import show
from personascope.warehouse.claims.reading import Claim, SpokenOf
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import nearest
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.lake import PATIENCE, Lake
from personascope.warehouse.store.manifest import Manifest, RunSpec
from personascope.warehouse.store.schema import tables

EXTRACTOR = "claims"
VERSION = 3
TABLE = "claim_verdicts"
_REUSED = "select finding from audit_checkpoint_name_reused where subject = $subject"
MANY = 3  # claims of one view that are worth computing it as a whole
VerdictWord = Literal["confirmed", "imprecise", "contradicted", "not derivable"]
VERDICTS: tuple[VerdictWord, ...] = ("confirmed", "imprecise", "contradicted", "not derivable")


@dataclass(frozen=True)
class Verdict:
    """What the data say of one claim; `measured` is the name of what the query gives, `found` is None where it gave nothing, `n_rows` are those it looked at.
    `standing` says whether the claim is older than the data, `changed` what is other than when it was first registered; both are None until it is recorded.

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
    n_rows: int | None = None
    fingerprint: str | None = None
    model: str | None = None
    replication: bool | None = None
    standing: str | None = None
    changed: str | None = None


NOT_STORED = ("standing", "changed")  # columns of the views alone, since they hang on what was registered


def check(lake: Lake, study: str, claims: list[Claim], sibling: str | None = None) -> list[Verdict]:
    """Verdicts on the claims of a study in their order, recorded in a run of kind `analysis`; claims and lake unchanged since the last check give its verdicts.

    With `sibling`, a checkpoint of the lake, the sentences that speak of a model are asked of that one instead: replications, recorded apart. Raises
    PersonascopeError that names the claim where a query fails, gives several rows, or gives a value of another kind than expected. In a lake that cannot be
    written nothing is recorded.
    """
    warehouse = _warehouse(lake, claims)
    if sibling is not None:
        claims = _of_sibling(warehouse, study, claims, sibling)
    present = warehouse.select("select state, n_runs from lake_state").row(0, named=True)
    spec = _spec(study, claims, present["state"], sibling)
    if (known := _recorded(lake, spec)) is not None:
        return _standing(lake, study, known, sibling)
    verdicts = [judge(warehouse, study, claim, sibling) for claim in claims]
    if not lake.is_writable:
        print(f"the lake {lake.root} cannot be written: these verdicts on {study} are not recorded in it", file=sys.stderr)
        return verdicts
    with lake.start(spec, force=True, patience=PATIENCE) as writer:
        constants = {"lake_state": present["state"], "lake_runs": present["n_runs"]}
        rows = [_row(verdict) | constants | {"place": place} for place, verdict in enumerate(verdicts)]
        writer.write_part("verdicts", {TABLE: rows})
        writer.commit(dict(Counter(verdict.verdict for verdict in verdicts)))
    if (newest := _last_check(lake, study, sibling)) not in (None, spec.run_id):
        when = lake.manifest(newest).finished
        print(
            f"check {newest} of {study} was finished at {when:%Y-%m-%d %H:%M} UTC, later than now by this clock: views and reports show that one",
            file=sys.stderr,
        )
    return _standing(lake, study, verdicts, sibling)


def _row(verdict: Verdict) -> dict[str, Any]:
    return {name: value for name, value in vars(verdict).items() if name not in NOT_STORED}


def _standing(lake: Lake, study: str, verdicts: list[Verdict], sibling: str | None) -> list[Verdict]:
    """The verdicts with what the view says of their age against the data."""
    rows = Warehouse(lake).select(
        "select claim, standing, changed from checked_claims where study = $study and asked is not distinct from $asked", {"study": study, "asked": sibling}
    )
    known = {claim: (standing, changed) for claim, standing, changed in rows.rows()}
    nothing = None, None  # of a claim that the newest check has not
    return [replace(each, standing=standing, changed=changed) for each in verdicts for standing, changed in [known.get(each.claim, nothing)]]


def _warehouse(lake: Lake, claims: list[Claim]) -> WarehouseApart:
    """The lake with the views that many claims ask, or read through others, kept once they are computed: each claim asks several questions of them.

    Claims are queries that somebody wrote into a file: they are asked in a process that can be killed.
    """
    named = Counter(word for claim in claims for word in set(re.findall(r"\w+", claim.query)) & views().keys())
    return WarehouseApart(lake, kept=sorted({*lasting(), *(view for view, n in named.items() if n >= MANY)}))


def look(lake: Lake, study: str, claims: list[Claim]) -> tuple[list[Verdict], Manifest | None, bool]:
    """Verdicts for those who read them, recording none: those of the last check of these claims, as the view `claims` gives them, with its manifest and whether
    the lake has changed since; fresh ones where these claims were not checked."""
    warehouse = _warehouse(lake, claims)
    run_id = _last_check(lake, study, None)
    if run_id is not None:
        verdicts = _verdicts_of(lake, run_id)
        if [each.fingerprint for each in verdicts] == [fingerprint(each) for each in claims]:
            spec = _spec(study, claims, warehouse.select("select state from lake_state").item())
            return _standing(lake, study, verdicts, None), lake.manifest(run_id), run_id != spec.run_id
    return [judge(warehouse, study, claim) for claim in claims], None, False


def _of_sibling(warehouse: Asked, study: str, claims: list[Claim], sibling: str) -> list[Claim]:
    """The claims that can be asked of another checkpoint than their own."""
    known = warehouse.select("select distinct checkpoint from checkpoints order by checkpoint")["checkpoint"].to_list()
    if sibling not in known:
        raise PersonascopeError(f"checkpoint {sibling!r} is not in this lake; {nearest(sibling, known)}")
    several = warehouse.select(_REUSED, {"subject": sibling})["finding"].to_list()
    if several:
        raise PersonascopeError(f"checkpoint {sibling!r} {several[0]}; expected the name of one model, of which a sentence can speak")
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
    return _verdicts_of(lake, spec.run_id)


def _verdicts_of(lake: Lake, run_id: str) -> list[Verdict]:
    rows = lake.read(run_id, TABLE).to_pylist()
    return [Verdict(**{name: row.get(name) for name in Verdict.__dataclass_fields__}) for row in sorted(rows, key=lambda row: row["place"])]


def judge(warehouse: Asked, study: str, claim: Claim, sibling: str | None = None) -> Verdict:
    """The verdict on one claim; on rows of another model than the one it speaks of only where that one is named as its sibling.

    Raises PersonascopeError where the query holds its own answer, answers differently when rows come in another order, or speaks of no change without a test
    of equivalence.
    """
    model = sibling or (claim.model.checkpoint if claim.model else None)
    foreign = _foreign(warehouse, claim.model) if claim.model and sibling is None else ""
    answer = Answer("", None, "") if foreign else answer_of(warehouse, claim, claim.query, claim.expected, model)
    parts: list[str]
    word: VerdictWord
    if answer.agreement is not None:
        word, parts = ("confirmed" if answer.agreement.decimals is None else "imprecise"), [answer.agreement.words]
    else:
        narrower = "" if foreign else _narrower(warehouse, claim, model)
        if answer.found is None:
            nothing = answer.nothing or _rows_of(claim.query)
            missing = f"missing: {claim.needs or nothing}" if sibling is None else f"missing of {sibling}: {nothing}"  # what it needs is said of its own model
            word, parts = "not derivable", [foreign or answer.undecided or missing, narrower]
        else:
            word, parts = ("imprecise" if narrower else "contradicted"), [narrower]
    return Verdict(
        study=study,
        claim=claim.id,
        verdict=word,
        statement=claim.statement,
        source=claim.source,
        measured=answer.measured,
        expected=show(claim.of(claim.expected)),
        found=None if answer.found is None else show(answer.found),
        detail="; ".join(part for part in [*parts, answer.evidence, answer.mixed] if part),
        query=with_model(claim.query, model).strip(),
        n_rows=answer.n_rows,
        fingerprint=fingerprint(claim),
        model=model,
        replication=None if model is None else sibling is not None,
    )


def fingerprint(claim: Claim) -> str:
    """A hash of all that decides a claim's verdict on given data; words of where it stands and what it needs are no part of it."""
    return stable_hash(claim.model_dump(mode="json", exclude={"source", "needs"}))


def _foreign(warehouse: Asked, model: SpokenOf) -> str:
    """What rows of that name are where they are not of the model that is spoken of; empty where they are its own, or there are none."""
    others = warehouse.select(
        "select distinct id, revision, quantisation from checkpoints "
        "where checkpoint = $name and (id <> $id or revision is distinct from $revision or quantisation is not null) order by all limit 1",
        {"name": model.checkpoint, "id": model.id, "revision": model.revision},
    )
    if others.is_empty():
        return ""
    identifier, revision, rounded = others.row(0)
    weights = f" with weights in {rounded}" if rounded else ""
    return f"{model.checkpoint} in this lake is {identifier} at {revision}{weights}; the sentence speaks of {model.id} at {model.revision}"


def _narrower(warehouse: Asked, claim: Claim, model: str | None) -> str:
    """For what smaller scope the claim is true, with the value found there; empty where there is none, there are no rows of it, or it is not true there."""
    if claim.narrower is None:
        return ""
    expected = claim.expected if claim.narrower.expected is None else claim.narrower.expected
    answer = answer_of(warehouse, claim.model_copy(update={"coarser": None}), claim.narrower.query, expected, model)
    if answer.found is None or answer.agreement is None or answer.agreement.decimals is not None:
        return ""
    return f"true for {claim.narrower.scope}: {show(answer.found)}{f' ({answer.evidence})' if answer.evidence else ''}"


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
