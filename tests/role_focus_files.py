"""Files of the role-focus study and of the transcribed SAE tables as they were published."""

import math
from typing import Any

from personascope.ingest.published import patching, rfc_comparison

COMPARISON = rfc_comparison._COLUMNS
CANDIDATES = (*patching._WHOLE, *patching._NUMBERS, patching._FAMILY)


def csv_text(columns: tuple[str, ...], *rows: dict[str, Any], **fill: Any) -> str:
    """A CSV file of these columns; a cell that no row gives is its position in the row plus a quarter, or `fill`."""
    lines = [",".join(columns)]
    for row in rows:
        lines.append(",".join(str(row.get(column, fill.get(column, index + 0.25))) for index, column in enumerate(columns)))
    return "\n".join(lines) + "\n"


def comparison(*layers: dict[str, Any], columns: tuple[str, ...] = COMPARISON) -> str:
    return csv_text(columns, *layers, n_heads_base=28, n_heads_instruct=28)


def candidates(*heads: dict[str, Any], columns: tuple[str, ...] = CANDIDATES) -> str:
    return csv_text(columns, *heads, n_self=30, n_neutral=30, rank=1, model_family="llama")


SUMMARY = {
    "mean": 0.5,
    "std": 0,
    "min": math.nan,
    "max": None,
    "positive_count": 1,
    "negative_count": 2,
    "significant_positive": 3,
    "significant_negative": 4,
    "near_zero": 5,
    "total_layers": 6,
}
CORRELATION = {"pearson_r": 0.5, "pearson_p": math.inf, "spearman_r": 1, "spearman_p": 0.0, "layers_compared": 7}
PATCHING = {
    "model_family": "phi",
    "total_candidates": 3,
    "mean_did_median": 1,
    "std_did_median": math.nan,
    "mean_log_ratio_median": 0.5,
    "std_log_ratio_median": None,
    "mean_consistency": 0.75,
    "mean_composite_score": 2.5,
    "layers_with_candidates": [3, 1],
    "top_layer": 3,
    "top_head": 0,
}

MATRIX = "condition,a,b\na,1,0.5\nb,0.5,1\n"
PROJECTIONS = "feature_id,description,projection,direction\n1,Odd,-0.50,C2>C1\n"
DIFFERENCES = "layer,n_significant,feature_id,standardized_diff\n7,54,9444,-9.68\n"
