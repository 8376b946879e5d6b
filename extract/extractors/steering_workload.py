"""How much a run of `extract steering` would read and write, told from its settings and the directions before anything is loaded."""

import math

from personascope.extract.extractors.capability import texts_of
from personascope.extract.extractors.steering_arms import SteeringSettings
from personascope.extract.workload import Directed, Shape, Texts, Workload
from personascope.ingest.tasks import load_task
from personascope.ingest.weights.absent import NotHereError


def planned_workload(settings: SteeringSettings, texts: Texts, shape: Shape) -> Workload:
    """Rows and tokens of all arms, at most: every dose of every direction and control at every layer beside dose 0, and the questions of the task."""
    directed = shape.directed or Directed(1, 0, shape.n_layers)
    doses = len(set(settings.doses)) * ("add" in settings.modes) + len(set(settings.shares)) * (len(set(settings.modes)) - ("add" in settings.modes))
    layers = 1 if settings.together else directed.n_layers if settings.layers == "all" else len(set(settings.layers))
    named = len(settings.ids or ()) or directed.n
    controls = directed.n_controls if settings.controls is None else min(settings.controls, directed.n_controls)
    asked = 0.5 if settings.half == "other" else 1.0
    if texts.repeats:  # answers are given: the first ones of these personas
        asked *= min(settings.samples, texts.repeats) / texts.repeats
        asked *= min(1.0, len(settings.personas) / texts.n_personas) if settings.personas and texts.n_personas else 1.0
    else:
        asked *= settings.samples
    answers = math.ceil(texts.n * asked) * (1 + doses * layers * (named + controls))
    length = texts.tokens / max(texts.n, 1)
    rows = {"steering": answers, "steering_projections": answers * named}
    tokens = answers * length
    if not texts.repeats:
        rows["examples"] = math.ceil(texts.n * (0.5 if settings.half == "other" else 1.0))
        tokens = 3 * answers * (length + settings.max_new_tokens)  # drawing an answer, reading it under the same push, and its perplexity without
    if (task := _planned_task(settings.task)) is not None:
        rows["steering_capability"] = task.n * (1 + doses * layers * named)
        tokens += task.tokens * (1 + doses * layers * named)
    return Workload(round(tokens), rows)


def _planned_task(name: str | None) -> Texts | None:
    """How much the questions of a task are; None without a task, and for one that is yet to be fetched."""
    try:
        return texts_of(load_task(name)) if name else None
    except NotHereError:
        return None
