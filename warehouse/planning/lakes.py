"""The variances a plan rests on, taken from a lake that holds a study of the same kind."""

import math
from typing import NamedTuple

from personascope.warehouse.asking.source import Source
from personascope.warehouse.errors import PersonascopeError

QUARTILE = 0.75  # a plan that rests on the median is too small for half of what it will measure
RARE = 0.01  # rates nearer to 0 or 1 hold too few of one kind to tell how they spread over questions

_COMPONENTS = f"""
with known as (
  select *, greatest(0, between) as bounded_between from variance_components
  where measure = $measure and checkpoint = coalesce($checkpoint, checkpoint) and within is not null and between is not null
    and (measure <> 'rate' or mean between {RARE} and 1 - {RARE})
)
select count(*) as n, min(n_clusters) as n_clusters, quantile_cont(greatest(0, icc), 0.5) as icc_median, quantile_cont(greatest(0, icc), {QUARTILE}) as icc,
  sqrt(quantile_cont(bounded_between, {QUARTILE})) as question_sd, sqrt(quantile_cont(within, {QUARTILE})) as sample_sd
from known
"""
_ALONE = f"""
select count(*) as n, min(n_clusters) as n_clusters, quantile_cont(question_sd, {QUARTILE}) as question_sd
from variance_components where measure = $measure and checkpoint = coalesce($checkpoint, checkpoint) and question_sd > 0
"""
_SEEDS = "select count(*) as n, sqrt(avg(rate_sd ** 2)) as seed_sd from marker_rate_seeds where n_seeds > 1"


class Variances(NamedTuple):
    """What a lake says: icc of a rate, or the two standard deviations of a mean; `told` says in words where they come from."""

    icc: float | None
    question_sd: float | None
    sample_sd: float | None
    seed_sd: float | None
    told: str


def variances(lake: Source, measure: str, checkpoint: str | None = None) -> Variances:
    """Upper quartiles over what `variance_components` holds of the measure (rate, attention or head); raises PersonascopeError where it holds nothing."""
    (row,) = lake.select(_COMPONENTS, measure=measure, checkpoint=checkpoint).rows(named=True)
    of = f" of checkpoint {checkpoint!r}" if checkpoint else ""
    if row["n"]:
        seeds = lake.select(_SEEDS).row(0, named=True) if measure == "rate" else {"n": 0, "seed_sd": None}
        if measure == "rate":
            told = f"an intraclass correlation {row['icc']:.2g}: upper quartile of {row['n']} rates{of} (median {row['icc_median']:.2g})"
            told += f"; standard deviation between seeds {seeds['seed_sd']:.2g} ({seeds['n']} rates)" if seeds["n"] else ""
            return Variances(row["icc"], None, None, seeds["seed_sd"], told)
        spread = f"standard deviation between questions {row['question_sd']:.3g}, within {row['sample_sd']:.3g}"
        told = f"a {spread}: upper quartiles of {row['n']} {_places(measure)}{of}"
        return Variances(None, row["question_sd"], row["sample_sd"], None, told)
    (row,) = lake.select(_ALONE, measure=measure, checkpoint=checkpoint).rows(named=True)
    if measure == "rate" or not row["n"] or not math.isfinite(row["question_sd"]):
        raise PersonascopeError(
            f"power: the lake holds nothing{of} from which the variances of measure {measure!r} can be told (variance_components); expected them typed, or "
            "a lake with completions, attention of trained and base, or ablations"
        )
    told = f"a standard deviation between questions of one sample each {row['question_sd']:.3g}: upper quartile of {row['n']} {_places(measure)}{of}"
    return Variances(None, row["question_sd"], 0.0, None, told)


def _places(measure: str) -> str:
    return "heads" if measure == "head" else "layers"
