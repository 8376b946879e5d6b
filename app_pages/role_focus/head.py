"""One head, section of the role focus page: its entropy on every prompt, base beside instruct, and all that is known of it in `heads`."""

from collections.abc import Mapping
from urllib.parse import urlencode

import polars as pl
import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.bar import asked
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.asking.views import views
from personascope.warehouse.drawing.headings import heading
from personascope.warehouse.drawing.tables import with_values
from personascope.warehouse.drawing.words import count_range

ANCHOR, KEY = "one-head", "one_head"
ROW = 26
VARIANTS = ("base", "instruct")


def place(layer: int, head: int) -> str:
    """A head as an address may name it."""
    return f"{layer}.{head}"


def link(layer: int, head: int, **choices: str) -> str:
    """The page at this head, all else as it is chosen now unless `choices` say otherwise."""
    return f"?{urlencode(st.query_params.to_dict() | choices | {KEY: place(layer, head)})}#{ANCHOR}"


def show_head(lake: Source, known: list[tuple[int, int]], pair: dict | None, family: str | None) -> None:
    """The head chosen among `known` (layer, head): of a pair read here or of a published family."""
    st.subheader("One head", divider="gray", anchor=ANCHOR)
    labels = {place(layer, head): f"layer {layer}, head {head}" for layer, head in known}
    at = {"layer": asked("layer"), "head": asked("head")}
    labels = {name: words for name, words in labels.items() if _is_at(name, at)} or labels
    layer, head = map(int, address.select("Head", list(labels), KEY, labels=labels).split("."))
    if pair is not None:
        _show_prompts(lake, pair, layer, head)
    _show_row(lake, pair, family, layer, head)


def _is_at(name: str, at: Mapping[str, str | None]) -> bool:
    """Whether a head is the one of the bar, or of its layer."""
    return all(wanted is None or wanted == is_at for wanted, is_at in zip(at.values(), name.split("."), strict=True))


def take_old_address() -> None:
    """An address that names a head as `?head=3.5` did so before there was a bar."""
    if "." in (old := st.query_params.get("head", "")):
        del st.query_params["head"]
        st.query_params[KEY] = old
        st.rerun()


def _show_prompts(lake: Source, pair: dict, layer: int, head: int) -> None:
    """Each prompt a point, by category, base beside instruct; mean and standard deviation over them, Cohen's d in a table."""
    prompts = {variant: _prompts(lake, pair[f"{variant}_run"], layer, head) for variant in VARIANTS}
    values = pl.concat([rows["value"] for rows in prompts.values()]).sort()
    if values.is_empty():
        st.info("No single prompts of this head are in the lake.", icon=":material/scatter_plot:")
        return
    domain = (values[0], values[-1])
    for variant, column in zip(VARIANTS, st.columns(2), strict=True):
        effects = lake.select(
            """select category as label, mean, mean - sd as low, mean + sd as high, sd, d_neutral, d_confounder, n, pooled from head_entropy
            where run_id = $run and layer = $layer and head = $head order by category""",
            run=pair[f"{variant}_run"],
            layer=layer,
            head=head,
        )
        facts = [
            f"a point is a prompt's mean over its positions; {count_range(effects['n'], 'prompt')} a category; form {pair['form']}",
            "bar: mean and one standard deviation over prompts, no interval",
            "no random draw, so no seed",
        ]
        figure = charts.strips(prompts[variant], effects, "entropy, nats", "self_referent", domain)
        title = f"{pair[f'{variant}_checkpoint']}: layer {layer}, head {head}"
        with column:
            charts.show(figure, f"one head {variant}", title, facts, max(120, 2 * ROW * effects.height))
            config: charts.Columns = {
                "label": "category",
                "d_neutral": st.column_config.NumberColumn("d from neutral", format="%+.2f", help="Cohen's d, pooled standard deviation over prompts."),
                "d_confounder": st.column_config.NumberColumn("d from confounder", format="%+.2f"),
                "mean": st.column_config.NumberColumn(format="%.4f"),
                "sd": st.column_config.NumberColumn(format="%.4f"),
                "n": "prompts",
            }
            shown = effects.select("label", "d_neutral", "d_confounder", "mean", "sd", "n")
            st.dataframe(shown, hide_index=True, column_config=config, height=charts.table_height(shown), placeholder="–")


def _prompts(lake: Source, run: str, layer: int, head: int) -> pl.DataFrame:
    """The head's entropy on every prompt of a run."""
    return lake.select(
        """select category as label, mean as value, question_id, n_positions, sink from entropy
        where run_id = $run and layer = $layer and head = $head order by category, question_id, example_id""",
        run=run,
        layer=layer,
        head=head,
    )


def _show_row(lake: Source, pair: dict | None, family: str | None, layer: int, head: int) -> None:
    """The head's rows of the view `heads`, upright: a figure a line, a checkpoint a column."""
    if pair is not None:
        where, named = "checkpoint in ($base, $instruct)", {"base": pair["base_checkpoint"], "instruct": pair["instruct_checkpoint"]}
    elif family is not None:
        where, named = "patching_family = $family", {"family": family}
    else:
        return
    query = f"from heads where {where} and layer = $layer and head = $head order by checkpoint, run_id, subject, base_run"
    rows = lake.select(f"select * {query}", layer=layer, head=head, **named)
    if rows.is_empty():
        st.info(f"`heads` has no row of layer {layer}, head {head}.", icon=":material/grid_on:")
        return
    known = with_values(rows.drop("layer", "head"))
    table: dict[str, list[str | None]] = {"figure": [heading(name) for name in known.columns]}
    for number, row in enumerate(known.to_dicts()):
        name = f"{row.get('checkpoint')} · {row['run_id']}"
        table[name if name not in table else f"{name} · {number + 1}"] = [_shown(value) for value in row.values()]
    table["what it is"] = [views()["heads"].doc(name) for name in known.columns]
    table["column"] = [*known.columns]
    upright = pl.DataFrame(table)
    st.dataframe(upright, hide_index=True, height=charts.table_height(upright, 24), placeholder="–")
    whose = pair["family"] if pair is not None else family
    st.caption(f"Layer {layer}, head {head} of {plain(whose)} in the view `heads`; figures that nothing was read for are left out.")


def _shown(value: object) -> str | None:
    """A figure as text, since a column holds words and numbers."""
    return None if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
