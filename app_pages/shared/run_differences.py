"""The parameters and circumstances in which two runs differ, as a table."""

import streamlit as st

from personascope.app_pages.shared import charts
from personascope.app_pages.shared.lake import Source


def show_run_differences(lake: Source, run_id: str, other: str) -> None:
    """A row a parameter, or circumstance, that is not the same in both."""
    rows = lake.select(
        """with facts as (
          select run_id, name, value from parameters where run_id in ($one, $other)
          union all
          unpivot (
            select run_id, extractor, checkpoint, subject, prompt_set, seed::varchar as seed, dtype, attention_implementation, device, git_commit, python
            from runs where run_id in ($one, $other)
          ) on columns(* exclude run_id) into name name value value
        )
        select name, max(value) filter (run_id = $one) as one, max(value) filter (run_id = $other) as other
        from facts group by name having one is distinct from other order by name""",
        one=run_id,
        other=other,
    )
    if rows.is_empty():
        st.info("The two runs have the same parameters and circumstances.", icon=":material/equal:")
        return
    config: charts.Columns = {"name": "what differs", "one": run_id, "other": other}
    st.dataframe(rows, hide_index=True, column_config=config, height=charts.table_height(rows), placeholder="–")
