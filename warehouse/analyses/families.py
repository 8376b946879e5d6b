"""Members of a family (layers, heads) tested together: what is picked from it has a p that knows of all the others."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from personascope.warehouse.analyses.base import Rows
from personascope.warehouse.analyses.bootstrap_t import bootstrap_t
from personascope.warehouse.analyses.resampling import max_t, number

RESAMPLES = 2000
SEED = 42
SETTINGS = {"method": "max-T over the family, sign flips and bootstrap-t of questions", "resamples": RESAMPLES, "seed": SEED}
MEMBER = ("layer", "head")
_METHOD = {True: "max-T over the family, all sign flips of questions", False: "max-T over the family, drawn sign flips of questions"}
_FIGURES = ("p", "adjusted_p", "bootstrap_t_p", "bootstrap_t_adjusted_p")


def family_rows(figure: str, sums: pl.DataFrame, family: Sequence[str]) -> Rows:
    """Rows of `family_tests` of the view `figure` from `sums`: columns of `family`, layer, head, question_id, n and total, the sum over n rows of a question.

    Members are tested together where they have the same rows; those with other rows than most of the family, families with one question and those of which a
    question is unknown have no test.
    """
    found: Rows = []
    for key, part in sums.group_by(family, maintain_order=True):
        if part["question_id"].null_count() or part["question_id"].n_unique() < 2 or part["total"].null_count():
            continue
        wide = {name: part.pivot(on="question_id", index=MEMBER, values=name, sort_columns=True).sort(MEMBER) for name in ("n", "total")}
        members = wide["n"].select(MEMBER).rows()
        sizes, totals = (wide[name].drop(MEMBER).to_numpy().astype(float) for name in ("n", "total"))
        usual = np.nan_to_num(sizes, nan=0).tolist()
        usual = np.array(max(usual, key=usual.count))
        kept = (np.nan_to_num(sizes, nan=0) == usual).all(axis=1)
        asked = usual > 0
        if asked.sum() < 2:
            continue
        values = totals[np.ix_(kept, asked)].T
        test, free = max_t(values, usual[asked], RESAMPLES, SEED), bootstrap_t(values, usual[asked], RESAMPLES, SEED)
        shared = {"figure": figure, **dict(zip(family, key, strict=True)), "n": int(usual.sum()), "n_clusters": int(asked.sum()), "n_members": int(kept.sum())}
        shared |= {"method": _METHOD[test.every], "resamples": test.resamples, "seed": SEED}
        for member, *each in zip(np.flatnonzero(kept), test.p, test.adjusted_p, free.p, free.adjusted_p, strict=True):
            found.append(shared | dict(zip(MEMBER, members[member], strict=True)) | dict(zip(_FIGURES, map(number, each), strict=True)))
    return found
