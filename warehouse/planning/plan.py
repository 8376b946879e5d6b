"""A plan from what was typed and what a lake knows: typed figures count first, then the lake's, then the defaults."""

from typing import Literal, NamedTuple, get_args

from personascope.warehouse.asking.source import Source
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.planning.lakes import Variances, variances
from personascope.warehouse.planning.power import ICC, SHARED, Effect, MeanEffect, RateEffect
from personascope.warehouse.settings import nearest

Measure = Literal["rate", "attention", "head"]
MEASURES: tuple[Measure, ...] = get_args(Measure)
UNITS = {"attention": "of attention", "head": "nats"}
NOTHING = Variances(None, None, None, None, "")


class Typed(NamedTuple):
    """Figures that were typed; None where they were not."""

    icc: float | None = None
    shared: float | None = None
    question_sd: float | None = None
    sample_sd: float | None = None
    seed_sd: float | None = None


def planned(
    measure: str, start: float | None, difference: float, typed: Typed, lake: Source | None = None, checkpoint: str | None = None
) -> tuple[Effect, str]:
    """The effect to be seen, and in words what its variances rest on.

    start: the rate it begins at (of a rate alone); difference: in points of a rate (0.05) or in the unit of the mean. Raises PersonascopeError where a figure
    that the measure needs is neither typed nor in the lake, and for an unknown measure.
    """
    if measure not in MEASURES:
        raise PersonascopeError(f"power: measure {measure!r} is unknown; {nearest(measure, MEASURES)}")
    found = variances(lake, measure, checkpoint) if lake is not None else NOTHING
    seed_sd = typed.seed_sd if typed.seed_sd is not None else found.seed_sd or 0.0
    if measure == "rate":
        if start is None:
            raise PersonascopeError("power: no rate to start from; expected --from RATE, such as --from 0.05")
        icc = next(each for each in (typed.icc, found.icc, ICC) if each is not None)
        shared = SHARED if typed.shared is None else typed.shared
        told = (
            found.told
            if typed.icc is None and found.icc is not None
            else f"an intraclass correlation of {icc:g}{'' if typed.icc is not None else ' (default)'}"
        )
        rests_on = f"{told} and rates of the two conditions that correlate by {shared:g} over questions{'' if typed.shared is not None else ' (default)'}"
        return RateEffect(start, start + difference, icc, shared, seed_sd), rests_on
    question_sd, sample_sd = (
        given if given is not None else known for given, known in ((typed.question_sd, found.question_sd), (typed.sample_sd, found.sample_sd))
    )
    if question_sd is None or sample_sd is None:
        raise PersonascopeError(
            f"power: the standard deviations of measure {measure!r} are not known; expected --question-sd and --sample-sd, or --lake with runs of its kind"
        )
    own = typed.question_sd is not None and typed.sample_sd is not None
    rests_on = f"a standard deviation of {question_sd:.3g} between questions and {sample_sd:.3g} within" if own else found.told
    return MeanEffect(difference, question_sd, sample_sd, seed_sd, UNITS[measure]), rests_on
