"""Which runs a report speaks of: those of the study, those its figures draw, and what these were made from."""

from collections.abc import Iterable

from personascope.warehouse.claims.checking import EXTRACTOR as CLAIMS
from personascope.warehouse.store.manifest import Manifest


def runs_of(study: str, drawn: Iterable[str], manifests: Iterable[Manifest]) -> list[Manifest]:
    """Manifests of the study, of the runs `drawn`, of all that these read (also in turn), of trainings and analyses of theirs; oldest first, by name at ties.

    Checks of claims are no part of a study's making and stay out.
    """
    known = {each.run_id: each for each in manifests if each.extractor != CLAIMS}
    wanted = {run_id for run_id, each in known.items() if each.study == study} | (known.keys() & set(drawn))
    models = {known[run_id].checkpoint for run_id in wanted} - {None}
    wanted |= {run_id for run_id, each in known.items() if each.kind == "train" and each.study in (None, study) and each.checkpoint in models}
    waiting = list(wanted)
    while waiting:
        found = (known.keys() & set(known[waiting.pop()].inputs)) - wanted
        wanted |= found
        waiting += found
    wanted |= {run_id for run_id, each in known.items() if each.kind == "analysis" and each.inputs and wanted >= set(each.inputs)}
    return sorted((known[run_id] for run_id in wanted), key=lambda each: (each.started, each.run_id))
