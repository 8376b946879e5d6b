"""Which runs a report speaks of: those of the study, those its figures draw, and what these were made from."""

from collections.abc import Iterable

from personascope.warehouse.claims.checking import EXTRACTOR as CLAIMS
from personascope.warehouse.store.manifest import Manifest


def runs_of(study: str, drawn: Iterable[str], manifests: Iterable[Manifest], past_analyses: bool = True) -> list[Manifest]:
    """Manifests of the study, of the runs `drawn`, of all that these read (also in turn), of trainings and analyses of theirs; oldest first, by name at ties.

    Checks of claims are no part of a study's making and stay out. An analysis may span the whole lake: with `past_analyses` what it read counts as read,
    without it the runs are those that are the study's own.
    """
    known = {each.run_id: each for each in manifests if each.extractor != CLAIMS}
    wanted = {run_id for run_id, each in known.items() if each.study == study} | (known.keys() & set(drawn))
    models = {known[run_id].checkpoint for run_id in wanted} - {None}
    wanted |= {run_id for run_id, each in known.items() if each.kind == "train" and each.study in (None, study) and each.checkpoint in models}
    waiting = list(wanted)
    while waiting:
        reader = known[waiting.pop()]
        found = set() if reader.kind == "analysis" and not past_analyses else (known.keys() & set(reader.inputs)) - wanted
        wanted |= found
        waiting += found
    wanted |= {run_id for run_id, each in known.items() if each.kind == "analysis" and each.inputs and wanted >= set(each.inputs)}
    return sorted((known[run_id] for run_id in wanted), key=lambda each: (each.started, each.run_id))
