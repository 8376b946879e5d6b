"""Attention runs of the planted lake in plain Python: the rows as stored, and the errors of their means."""

import runpy
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import lakes
import numpy as np
from cluster_robust import cr2

planted = SimpleNamespace(**runpy.run_path(str(lakes.PLANTED / "planted.py")))

CONTROLS = ("C1", "C2", "C3", "C4")
REGIONS = {
    ("A", "system"): ("system", "system_structural"),
    ("A", "user"): ("user", "user_structural"),
    ("A", "assistant"): ("assistant", "assistant_structural"),
    ("A", "header"): ("header",),
    ("B", "system"): ("system",),
    ("B", "user"): ("user",),
    ("B", "assistant"): ("assistant",),
    ("B", "specials"): ("header", "system_structural", "user_structural", "assistant_structural"),
}
READERS = ("villain", "base", "base_bfloat16", "comedian", "still")


class Reading:
    """One attention run, as its stored rows say: `mean[part][example, position, layer]` and the positions of every stratum."""

    def __init__(self, world, name):
        run_id = world.runs[name]
        self.run_id = run_id
        self.strata: dict[Any, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))  # example -> stratum -> positions
        self.question = {}
        for row in world.lake.read(run_id, "positions").to_pylist():
            example = (row["example_id"], row["sample_ix"])
            self.strata[example][row["stratum"]].append(row["position"])
            self.question[example] = row["question_id"]
        self.mean = {}
        for row in world.lake.read(run_id, "attention_mean").to_pylist():
            self.mean[row["example_id"], row["sample_ix"], row["position"], row["layer"]] = row
        self.examples = sorted(example for example, strata in self.strata.items() if "marker" in strata)

    def value(self, example, position, layer, parts):
        row = self.mean[*example, position, layer]
        return sum(row[part] for part in parts)

    def contrast(self, example, control, layer, parts):
        """(value at the marker, mean over the control's positions), or None where there is no such control."""
        at_marker = self.value(example, self.strata[example]["marker"][0], layer, parts)
        if control == "C4":
            ends = [(other, p) for other, strata in self.strata.items() if self.question[other] == self.question[example] for p in strata.get("C4", [])]
        else:
            ends = [(example, p) for p in self.strata[example].get(control, [])]
        if not ends:
            return None
        return at_marker, float(np.mean([self.value(other, p, layer, parts) for other, p in ends]))

    def deltas(self, control, layer, parts=("system",)):
        """Marker minus control by example."""
        found = {example: self.contrast(example, control, layer, parts) for example in self.examples}
        return {example: pair[0] - pair[1] for example, pair in found.items() if pair is not None}


def by_matrices(values, questions):
    """Standard error of a mean by the matrices of its authors: (sem, number of clusters, degrees of freedom)."""
    _, sem, df = cr2(np.asarray(values, float), np.ones((len(values), 1)), np.asarray(questions), np.ones(1))
    return sem, len(set(questions)), df


def clustered(values, clusters):
    """Cluster-robust standard error of a mean, residual by residual: (sem, number of clusters)."""
    residuals: dict[Any, float] = defaultdict(float)
    for value, cluster in zip(values, clusters, strict=True):
        residuals[cluster] += value - np.mean(values)
    g = len(residuals)
    return float(np.sqrt(g / (g - 1) * sum(r**2 for r in residuals.values())) / len(values)), g


def rows_by(frame, *keys):
    found = {tuple(row[key] for key in keys): row for row in frame.to_dicts()}
    assert len(found) == len(frame)
    return found
