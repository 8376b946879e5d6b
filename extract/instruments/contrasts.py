"""Directions out of activations: differences of personas, axes between them, probes, and controls that share all but the meaning. Float64 throughout."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from personascope.extract.texts.halves import half_of
from personascope.warehouse.errors import PersonascopeError

OTHERS = "others"
FEWEST_TO_SHUFFLE = 4


class NothingSharedError(PersonascopeError):
    """Groups that have no question in common."""


class Made(NamedTuple):
    """A direction [d], the activations and questions behind it, and for an axis or a probe how much of what it is to tell it tells."""

    vector: np.ndarray
    n: int
    n_questions: int
    share: float | None = None


@dataclass(frozen=True)
class Means:
    """Mean activations of groups (personas or conditions) by unit, which is a question, so that repeats and uneven numbers of answers weigh nothing.

    at [G, U, d], NaN where a group has no answer to a question; counts [G, U]: activations behind each. `questions` names the question of a unit: two
    units of one question differ in what the groups do not tell apart.
    """

    groups: tuple[str, ...]
    questions: tuple[str, ...]
    at: np.ndarray
    counts: np.ndarray

    @staticmethod
    def of(groups: Sequence[str], units: Sequence[tuple[str | None, str]], vectors: np.ndarray) -> Means:
        """From the rows of activations: group, (what is pooled, question) and vector [n, d] of each."""
        known, kept = sorted(set(groups)), sorted(set(units), key=lambda unit: (unit[1], unit[0] or ""))
        place = {name: number for number, name in enumerate(known)}
        column = {unit: number for number, unit in enumerate(kept)}
        cell = np.array([place[group] * len(kept) + column[unit] for group, unit in zip(groups, units, strict=True)], dtype=np.int64)
        counts = np.bincount(cell, minlength=len(known) * len(kept)).reshape(len(known), len(kept))
        total = np.zeros((len(known) * len(kept), vectors.shape[1]))
        np.add.at(total, cell, vectors.astype(np.float64))
        with np.errstate(invalid="ignore"):
            at = total.reshape(len(known), len(kept), -1) / counts[:, :, None]
        return Means(tuple(known), tuple(unit[1] for unit in kept), at, counts)

    def only(self, groups: Sequence[str]) -> Means:
        """These groups at the units that all of them have; raises NothingSharedError where there is none."""
        rows = [self.groups.index(group) for group in groups if group in self.groups]
        shared = np.asarray((self.counts[rows] > 0).all(axis=0))
        if len(rows) < len(groups) or not shared.any():
            named = ", ".join(groups) if len(groups) <= 4 else f"the {len(groups)} groups"
            raise NothingSharedError(f"no question was answered by all of {named}; expected activations of the same questions")
        questions = tuple(question for question, kept in zip(self.questions, shared, strict=True) if kept)
        return Means(tuple(groups), questions, self.at[rows][:, shared], self.counts[rows][:, shared])

    def of_questions(self, half: str) -> Means:
        """The units whose question is of this half."""
        kept = [unit for unit, question in enumerate(self.questions) if half_of(question) == half]
        return Means(self.groups, tuple(self.questions[unit] for unit in kept), self.at[:, kept], self.counts[:, kept])

    def made(self, vector: np.ndarray, share: float | None = None) -> Made:
        return Made(vector, int(self.counts.sum()), len(set(self.questions)), share)

    def shuffled(self, generator: np.random.Generator) -> Means:
        """The same vectors under names that were dealt out anew at every unit; raises PersonascopeError for too few units.

        Of two groups an even number of units is taken and half of them exchanged: any other number would leave some of the difference standing.
        """
        n_groups, n_units = self.counts.shape
        if n_units < FEWEST_TO_SHUFFLE:
            raise PersonascopeError(f"labels of {n_units} questions cannot be shuffled; expected {FEWEST_TO_SHUFFLE} or more")
        units = np.arange(n_units)
        if n_groups == 2:
            units = generator.permutation(n_units)[: n_units // 2 * 2]
            exchanged = np.arange(len(units)) < len(units) // 2
            order = np.where(exchanged, [[1], [0]], [[0], [1]])
        else:
            order = np.stack([generator.permutation(n_groups) for _ in units], axis=1)
        return Means(self.groups, tuple(self.questions[unit] for unit in units), self.at[order, units], self.counts[order, units])


Contrast = Callable[[Means], Made]


def difference(means: Means, group: str, other: str) -> Made:
    """Mean of a group minus that of another, paired by question."""
    at = means.at.mean(axis=1)
    places = [means.groups.index(group), means.groups.index(other)]
    return means.made(at[places[0]] - at[places[1]])


def from_others(means: Means, group: str) -> Made:
    """Mean of a group minus the mean of all other groups, paired by question."""
    at, place = means.at.mean(axis=1), means.groups.index(group)
    return means.made(at[place] - np.delete(at, place, axis=0).mean(axis=0))


def axis(means: Means, number: int, up: str | None = None) -> Made:
    """Principal axis `number` (from 1) of the groups' means, as long as their standard deviation along it; `up` lies above the mean on it.

    Where `up` is no group, the group farthest from the mean lies above it, as in the view `persona_map`.
    """
    at = means.at.mean(axis=1)
    centred = at - at.mean(axis=0)
    left, sizes, right = np.linalg.svd(centred, full_matrices=False)
    along = left[:, number - 1] * sizes[number - 1]
    upper = along[means.groups.index(up)] if up in means.groups else along[np.abs(along).argmax()]
    total = float((sizes**2).sum())
    length = sizes[number - 1] / np.sqrt(len(at))
    return means.made(right[number - 1] * (length if upper >= 0 else -length), float(sizes[number - 1] ** 2) / total if total else None)


def probe(means: Means, group: str, other: str) -> Made:
    """Normal of a logistic regression that tells two groups apart by question, as long as their means lie apart along it."""
    normal = _fitted(means, group, other)[0].coef_[0]
    unit = normal / (np.linalg.norm(normal) or 1.0)
    at = means.at.mean(axis=1)
    return means.made(unit * float((at[means.groups.index(group)] - at[means.groups.index(other)]) @ unit))


def told_apart(means: Means, unseen: Means, group: str, other: str) -> float:
    """Accuracy of the probe of `means` on the questions of `unseen`."""
    fitted, scaled = _fitted(means, group, other)
    rows, labels = _pair(unseen, group, other)
    return float((fitted.predict(scaled(rows)) == labels).mean())


def _fitted(means: Means, group: str, other: str) -> tuple[Any, Callable[[np.ndarray], np.ndarray]]:
    """The regression and what it takes: features scaled by one number for all, so that its penalty (C = 1) does not hang on the size of the activations."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    rows, labels = _pair(means, group, other)
    middle = rows.mean(axis=0)
    size = float(np.sqrt(((rows - middle) ** 2).sum(axis=1).mean())) or 1.0

    def scaled(rows: np.ndarray) -> np.ndarray:
        return (rows - middle) / size

    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            return LogisticRegression(C=1.0, max_iter=1000).fit(scaled(rows), labels), scaled
        except ConvergenceWarning as error:
            raise PersonascopeError(f"the probe of {group} against {other} did not settle within 1000 steps; expected other activations") from error


def _pair(means: Means, group: str, other: str) -> tuple[np.ndarray, np.ndarray]:
    """One row a question and group [2 U, d], and whether it is of `group`."""
    rows = means.at[[means.groups.index(other), means.groups.index(group)]]
    return rows.reshape(-1, rows.shape[-1]), np.repeat([0, 1], rows.shape[1])


def in_span(means: Means, generator: np.random.Generator) -> np.ndarray:
    """A direction that some personas differ along: the groups' means about their mean, mixed at random."""
    at = means.at.mean(axis=1)
    return generator.standard_normal(len(at)) @ (at - at.mean(axis=0))


def as_long_as(vector: np.ndarray, norm: float) -> np.ndarray:
    """The vector at another length; one of length 0 stays."""
    length = float(np.linalg.norm(vector))
    return vector * (norm / length) if length else vector


def cosine(one: np.ndarray, other: np.ndarray) -> float | None:
    """Cosine of two vectors; None where one points nowhere."""
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.clip(one @ other / lengths, -1, 1)) if lengths else None
