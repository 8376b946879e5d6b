"""The power of a paired design: how likely questions, samples, seeds and comparisons are to see a difference of a given size.

The replicate is the question. A question's own difference between the two conditions is a draw with variance `between`, and each of its samples adds noise of
variance `within`, so that a mean over q questions of r samples has the variance (between + within / r) / q; it is tested by a paired t test over questions.
Power is the tail of the noncentral t distribution (Cohen 1988; Miller 2024 for evaluations); `tests/simulations/test_power.py` holds it against simulation.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Protocol

from personascope.warehouse.errors import PersonascopeError

ALPHA, TARGET = 0.05, 0.8
ICC, SHARED = 0.15, 0.85
MOST_QUESTIONS = 100_000
LEAST_SEEDS = 3  # from which seeds are a sample of something
REMEMBERED = 4096  # answers of either kind: the page asks for the same tables whenever it is drawn


class Effect(Protocol):
    """A difference between two conditions that the same questions were asked under."""

    def __hash__(self) -> int: ...

    @property
    def difference(self) -> float: ...

    @property
    def between(self) -> float:
        """Variance over questions of a question's true difference."""
        ...

    @property
    def within(self) -> float:
        """Variance of the difference of one sample of either condition around the question's own."""
        ...

    @property
    def seed_sd(self) -> float:
        """Standard deviation over training seeds of the true difference."""
        ...

    def of(self, difference: float) -> "Effect":
        """The same with another difference."""
        ...

    def words(self) -> str: ...


@dataclass(frozen=True)
class RateEffect:
    """A rate of `low` under one condition and `high` under the other.

    icc: share of the variance of one completion that its question explains; shared: correlation over questions of the two conditions' rates, 1 where what makes
    a question prone to one makes it prone to the other. Raises PersonascopeError for figures outside of their range.
    """

    low: float
    high: float
    icc: float = ICC
    shared: float = SHARED
    seed_sd: float = 0.0

    def __post_init__(self) -> None:
        for name, value in (("rate from", self.low), ("rate to", self.high)):
            if not 0 < value < 1:
                raise PersonascopeError(f"power: {name} is {value:g}; expected a rate between 0 and 1, both left out")
        for name, value in (("icc", self.icc), ("shared", self.shared)):
            if not 0 <= value <= 1:
                raise PersonascopeError(f"power: {name} is {value:g}; expected a number from 0 to 1")
        _check_spread("seed-sd", self.seed_sd)

    @property
    def difference(self) -> float:
        return self.high - self.low

    @property
    def between(self) -> float:
        low, high = (math.sqrt(self.icc * rate * (1 - rate)) for rate in (self.low, self.high))
        return low**2 + high**2 - 2 * self.shared * low * high

    @property
    def within(self) -> float:
        return (1 - self.icc) * sum(rate * (1 - rate) for rate in (self.low, self.high))

    def of(self, difference: float) -> "RateEffect":
        return replace(self, high=self.low + difference)

    def words(self) -> str:
        return f"{100 * self.low:.3g}% → {100 * self.high:.3g}%"


@dataclass(frozen=True)
class MeanEffect:
    """A paired mean, such as attention of a trained checkpoint minus its base on the same tokens, or what a head is worth.

    question_sd: standard deviation over questions of a question's true value; sample_sd: of the samples of one question around it. Raises PersonascopeError for
    figures outside of their range.
    """

    difference: float
    question_sd: float
    sample_sd: float
    seed_sd: float = 0.0
    unit: str = ""

    def __post_init__(self) -> None:
        if not math.isfinite(self.difference):
            raise PersonascopeError(f"power: difference is {self.difference:g}; expected a finite number")
        for name, value in (("question-sd", self.question_sd), ("sample-sd", self.sample_sd), ("seed-sd", self.seed_sd)):
            _check_spread(name, value)
        if self.question_sd == self.sample_sd == 0:
            raise PersonascopeError("power: question-sd and sample-sd are both 0; expected at least one above 0, typed or taken from a lake")

    @property
    def between(self) -> float:
        return self.question_sd**2

    @property
    def within(self) -> float:
        return self.sample_sd**2

    def of(self, difference: float) -> "MeanEffect":
        return replace(self, difference=difference)

    def words(self) -> str:
        return f"a mean of {self.difference:.3g}{f' {self.unit}' if self.unit else ''}"


@dataclass(frozen=True)
class Design:
    """What is sampled: questions, samples of each under either condition, training seeds, and how many comparisons (personas, layers, heads) are looked at.

    One or two seeds say nothing about other seeds: the conclusion is about these checkpoints. From three on it is about seeds, with the questions as they are.
    Comparisons share the error by Bonferroni. Raises PersonascopeError for sizes that cannot be.
    """

    questions: int
    samples: int
    seeds: int = 1
    comparisons: int = 1

    def __post_init__(self) -> None:
        for name, least in (("questions", 2), ("samples", 1), ("seeds", 1), ("comparisons", 1)):
            if getattr(self, name) < least:
                raise PersonascopeError(f"power: {name} is {getattr(self, name)}; expected at least {least}")

    def words(self) -> str:
        seeds = f" × {self.seeds} seeds" if self.seeds > 1 else ""
        among = f", one of {self.comparisons} comparisons (Bonferroni)" if self.comparisons > 1 else ""
        return f"{self.questions} questions × {self.samples} samples{seeds}{among}"


def standard_error(effect: Effect, design: Design) -> tuple[float, int]:
    """Standard error of the mean difference, and the degrees of freedom of its t test."""
    noise = effect.within / (design.questions * design.samples)
    if design.seeds >= LEAST_SEEDS:
        return math.sqrt((effect.seed_sd**2 + noise) / design.seeds), design.seeds - 1
    return math.sqrt(effect.between / design.questions + noise / design.seeds), design.questions - 1


@lru_cache(REMEMBERED)
def power(effect: Effect, design: Design, alpha: float = ALPHA) -> float:
    """Probability that the two-sided test at level `alpha` over all comparisons tells the difference from zero. Raises PersonascopeError for a bad level."""
    from scipy.stats import nct, t  # most of a second to import, which no other command should take

    if not 0 < alpha < 1:
        raise PersonascopeError(f"power: alpha is {alpha:g}; expected a level between 0 and 1")
    error, df = standard_error(effect, design)
    if error == 0:
        return 1.0 if effect.difference else alpha / design.comparisons
    bound, ncp = t.isf(alpha / design.comparisons / 2, df), abs(effect.difference) / error
    found = float(nct.sf(bound, df, ncp) + nct.cdf(-bound, df, ncp))
    # Far in the tail the library gives no number; there the test never misses.
    return 1.0 if math.isnan(found) or ncp > 10 * bound else min(1.0, max(found, alpha / design.comparisons))


def questions_needed(effect: Effect, design: Design, target: float = TARGET, alpha: float = ALPHA) -> int | None:
    """The fewest questions with which `design` reaches the power `target`; None where no number of them does (seeds differ too much)."""
    _check_target(target)

    def enough(questions: int) -> bool:
        return power(effect, replace(design, questions=questions), alpha) >= target

    low, high = 2, 4
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST_QUESTIONS:
            return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high


@lru_cache(REMEMBERED)
def smallest_difference(effect: Effect, design: Design, target: float = TARGET, alpha: float = ALPHA) -> float | None:
    """The smallest difference upwards that `design` sees with power `target`; None where even the largest possible one is not seen."""
    from scipy.optimize import brentq

    _check_target(target)
    most = 1 - effect.low - 1e-6 if isinstance(effect, RateEffect) else 1e3 * standard_error(effect, design)[0]

    def short_of(difference: float) -> float:
        return power(effect.of(difference), design, alpha) - target

    return float(brentq(short_of, most * 1e-6, most, xtol=1e-9)) if most > 0 and short_of(most) >= 0 else None


def _check_spread(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise PersonascopeError(f"power: {name} is {value:g}; expected a finite number, at least 0")


def _check_target(target: float) -> None:
    if not 0 < target < 1:
        raise PersonascopeError(f"power: target is {target:g}; expected a power between 0 and 1")
