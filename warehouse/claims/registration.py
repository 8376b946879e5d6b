"""Registers what a study says before its first extraction: the hash of its file and of every claim, so that nothing written later passes for it."""

from collections.abc import Mapping, Sequence
from typing import Any

from personascope.warehouse.claims.checking import fingerprint
from personascope.warehouse.claims.judging import show
from personascope.warehouse.claims.reading import Claim
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import RunSpec

EXTRACTOR = "registration"
VERSION = 1
TABLE = "registrations"


def register(lake: Lake, study: str, file: Mapping[str, Any], claims: Sequence[Claim], claimed_as: str) -> str:
    """The run of kind `analysis` that holds the hashes of a study and its claims; one that is there stays as it is, with the time at which it was first made.

    `study` is the name its runs bear, `file` what the study file says, as JSON has it, and `claimed_as` the name under which `personascope check` records the
    study's claims.
    """
    study_hash = stable_hash(dict(file))
    marks = [fingerprint(claim) for claim in claims]
    spec = RunSpec(kind="analysis", extractor=EXTRACTOR, version=VERSION, identity={"study": claimed_as, "file": study_hash, "claims": marks}, study=study)
    writer = lake.start(spec)
    if writer is not None:
        with writer:
            shared = {"study": claimed_as, "study_hash": study_hash}
            rows = [
                shared
                | {"claim": claim.id, "place": place, "fingerprint": mark, "statement": claim.statement}
                | {"expected": show(claim.of(claim.expected)), "query": claim.query.strip()}
                for place, (claim, mark) in enumerate(zip(claims, marks, strict=True))
            ]
            writer.write_part("claims", {TABLE: rows or [shared | {"place": 0}]})
            writer.commit({"n_claims": len(claims), "study_hash": study_hash})
    return spec.run_id
