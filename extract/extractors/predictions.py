"""What the model itself says at each target, and whether it does the task at all: the first thing to know of a study of circuits."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from personascope.extract.extractors.targets import Targeted
from personascope.extract.instruments.lens import Reading, Vocabulary
from personascope.extract.job import Extractor
from personascope.warehouse.store.writer import RunWriter

FAILS = 0.5  # accuracy below which a study says loudly that the model does not do the task


def prediction_rows(
    targets: Sequence[Targeted],
    wanted: Tensor,
    reading: Reading,
    places: Sequence[int],
    vocabulary: Vocabulary,
    errors: Sequence[float] | None = None,
) -> list[dict[str, Any]]:
    """Rows of the table `predictions`: place `places[i]` of the reading of the last layer belongs to target i; wanted int64 [n], the target of each.

    errors: distance of the summed parts from the logit, where the logit was taken apart.
    """
    rows = []
    for number, (each, place) in enumerate(zip(targets, places, strict=True)):
        top, second = (int(token) for token in reading.ids[place, :2]) if reading.ids.shape[1] > 1 else (int(reading.ids[place, 0]), None)
        named, target = each.target_id is not None, int(wanted[number])
        rows.append(
            {
                **each.columns(),
                "target_id": target,
                "target_token": vocabulary.text(target),
                "n_target_tokens": each.n_target_tokens,
                "top1_id": top,
                "top1_token": vocabulary.text(top),
                "runner_up_id": second,
                "runner_up_token": None if second is None else vocabulary.text(second),
                "target_logit": float(reading.target_logit[place]),
                "target_prob": float(reading.target_prob[place]),
                "target_rank": int(reading.target_rank[place]),
                "correct": int(reading.target_rank[place]) == 1 if named else None,
                "logit_error": None if errors is None else errors[number],
            }
        )
    return rows


def accuracy_of(writer: RunWriter) -> dict[str, Any]:
    """Targets read, those that were named beforehand, and the share of them that is the model's first choice."""
    correct = writer.read_staged("predictions").column("correct").to_pylist()
    named = [each for each in correct if each is not None]
    return {"n_examples": len(correct), "n_targets": len(named), "accuracy": sum(named) / len(named) if named else None}


def say_accuracy(extractor: Extractor[Any], found: dict[str, Any]) -> None:
    """One line on how well the model does the task, loud where it fails; a checkpoint that is force-fed another one's tokens need not do it."""
    if found["accuracy"] is None:
        return
    sentence = f"{extractor.job.checkpoint.name} says the target first in {100 * found['accuracy']:.0f}% of {found['n_targets']} examples"
    extractor.job.say(
        f"WARNING: {sentence}: it does not do the task, so its circuits say nothing of it"
        if found["accuracy"] < FAILS and extractor.job.tokens_from is None
        else sentence
    )
