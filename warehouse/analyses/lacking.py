"""Why a question found nothing: analyses that it reads and that nobody has computed yet."""

import re

from personascope.warehouse.analyses import analyses
from personascope.warehouse.asking.query import Warehouse
from personascope.warehouse.asking.views import tables_behind
from personascope.warehouse.store.lake import Lake


def lacking(lake: Lake, query: str) -> list[str]:
    """The analyses whose tables a query reads, directly or through views, which the lake has runs for and no current result of; by name."""
    behind = tables_behind(set(re.findall(r"\w+", query.lower())))
    read = [each for each in analyses().values() if each.table in behind]
    if not read:
        return []
    current = set(Warehouse(lake).select("select distinct extractor from analysis_standing where is_current")["extractor"])
    runs = lake.manifests()
    return sorted(each.name for each in read if each.name not in current and any(each.inputs(run) is not None for run in runs))
