"""Small documents of scalars that the marker-attention study left beside its results: run metadata, preflight and other stages, the mid-run gate."""

import re

from personascope.ingest.published.checkpoint_rows import StudyMetadata
from personascope.ingest.published.document import Document
from personascope.ingest.published.facts import facts
from personascope.ingest.published.layers import LayerLists
from personascope.ingest.published.record import Record
from personascope.ingest.published.validate import Name, Strict, validated

VERSION = 1

_GATE_NAME = re.compile(r"midrun_gate_(.+)")


class _Stage(Strict):
    stage: Name


def recognise(document: Document) -> list[Record]:
    """One of three JSON objects: `info.snr_per_layer`; `stage` beside a metadata block; or a metadata block alone (`git_commit`, `base_model_id`)."""
    value = document.object
    if isinstance(info := value.get("info"), dict) and "snr_per_layer" in info:
        return [_midrun_gate(document)]
    if "stage" in value and isinstance(metadata := value.get("metadata"), dict) and "git_commit" in metadata:
        return [Record(kind=validated(_Stage, value).stage, rows={"published_facts": facts(value)})]
    if {"git_commit", "base_model_id"} <= value.keys():
        metadata_block = validated(StudyMetadata, value)
        return [Record(kind="run_metadata", rows={"checkpoints": [metadata_block.base()], "published_facts": facts(value)})]
    return []


def _midrun_gate(document: Document) -> Record:
    """Signal to noise per layer; the subject stands in the file's name only and stays NULL in a file called otherwise."""
    match = _GATE_NAME.fullmatch(document.name.stem)
    subject = match[1] if match else None
    lists = LayerLists(subject)
    lists.add("info.snr_per_layer", document.object["info"]["snr_per_layer"], ("layer",))
    info = {key: value for key, value in document.object["info"].items() if key != "snr_per_layer"}
    return Record(
        kind="midrun_gate",
        subject=subject,
        rows={"published_layers": lists.rows, "published_facts": facts(document.object | {"info": info}, subject=subject)},
        parameters={"subject_from": "file name" if match else "nowhere: neither content nor file name tells"},
    )
