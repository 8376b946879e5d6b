"""One base and instruct pair, section of the role focus page: RFC by layer, heads, positions, and what ablating the candidates does."""

import polars as pl
import streamlit as st

from personascope.app_pages.shared import address, charts
from personascope.app_pages.shared.lake import Source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.words import count, count_range

HEIGHT, ROW, MOST_HEADS = 320, 22, 15
VARIANTS = ("base", "instruct")
AGAINST = {"neutral": "self minus neutral", "confounder": "self minus confounder"}
CATEGORIES = ("self_referent", "confounder", "neutral", "third_person")


def known_pairs(lake: Source, checkpoint: str | None = None) -> pl.DataFrame:
    """The rows of rfc_pairs (of a checkpoint), with the label that a reader chooses by."""
    return lake.select(
        """select p.*, p.family || ' · ' || p.base_checkpoint || ' and ' || p.instruct_checkpoint || ' · ' || p.form
          || case when count(*) over (partition by p.base_checkpoint, p.instruct_checkpoint, p.form) > 1 then ' · ' || p.instruct_run else '' end as label
        from rfc_pairs as p where coalesce($checkpoint in (p.base_checkpoint, p.instruct_checkpoint), true) order by label""",
        checkpoint=checkpoint,
    )


def show_pair(lake: Source, pairs: pl.DataFrame, layer: int | None = None) -> dict | None:
    """Everything that was read of the pair chosen among `pairs` (heads: of one `layer`), and which it is; says so where no prompts were read."""
    if pairs.is_empty():
        st.info(
            "No base and instruct pair was read on the same prompts in the same form: `personascope run role-focus --quick` reads three on tiny checkpoints.",
            icon=":material/compare:",
        )
        return None
    labels = pairs["label"].to_list()
    pair = pairs.row(labels.index(address.select("Base and instruct", labels, "models")), named=True)
    show_layers(lake, pair)
    left, right = st.columns(2)
    variant = address.segments("Variant", list(VARIANTS), "variant", where=left)
    against = address.segments("Difference", list(AGAINST), "difference", labels=AGAINST, where=right)
    show_heads(lake, pair, variant, against, layer)
    show_positions(lake, pair, variant)
    show_ablations(lake, pair)
    return pair


def show_layers(lake: Source, pair: dict) -> None:
    """RFC and RSI of both variants by layer, with intervals over prompts."""
    for measure, words in (("rfc", "RFC"), ("rsi", "RSI")):
        rows = lake.select(
            f"""select v.variant as series, d.layer, case v.variant when 'base' then d.{measure}_base else d.{measure}_instruct end as mean,
              case v.variant when 'base' then i.{measure}_base_low else i.{measure}_instruct_low end as low,
              case v.variant when 'base' then i.{measure}_base_high else i.{measure}_instruct_high end as high,
              d.n_prompts, d.n_heads, d.n_heads_model, i.resamples, i.seed, i.method
            from rfc_diff as d
            cross join (values ('base'), ('instruct')) as v(variant)
            left join (
              select * from rfc_intervals where run_id in (select run_id from analysis_standing where is_current)
            ) as i on i.base_run = d.base_run and i.instruct_run = d.instruct_run and i.layer = d.layer
            where d.base_run = $base and d.instruct_run = $instruct
            order by v.variant, d.layer""",
            base=pair["base_run"],
            instruct=pair["instruct_run"],
        )
        row = rows.row(0, named=True)
        computed = row["resamples"] is not None
        drawn = f"{row['method']}; R = {row['resamples']}, seed {row['seed']}" if computed else "intervals not computed yet (personascope analyse)"
        facts = [
            f"band: 95%, {drawn}",
            f"{count_range(rows['n_prompts'], 'prompt')} a category, {count_range(rows['n_heads'], 'head')} of {row['n_heads_model']} a layer, "
            f"form {pair['form']}",
        ]
        title = f"{words} by layer: {pair['base_checkpoint']} and {pair['instruct_checkpoint']}"
        drawn_rows = rows.drop("resamples", "seed", "method")
        charts.show(charts.curves(drawn_rows, words, list(VARIANTS)), f"{measure} of the pair", title, facts, HEIGHT)


def show_heads(lake: Source, pair: dict, variant: str, against: str, layer: int | None = None) -> None:
    """The difference of entropies per head as a map, per layer as bars, and the heads where it is largest."""
    run = pair[f"{variant}_run"]
    rows = lake.select(
        f"""select layer, head, delta_{against} as delta, h_self, h_{against}, rfc, n from rfc_head
        where run_id = $run and coalesce(layer = $layer, true) order by layer, head""",
        run=run,
        layer=layer,
    )
    if rows["delta"].null_count() == rows.height:
        st.info(f"The prompts hold no category {plain(against)}.", icon=":material/grid_on:")
        return
    name = pair[f"{variant}_checkpoint"]
    facts = [f"{count_range(rows['n'], 'prompt')} a category, positions pooled; form {pair['form']}; no random draw, so no seed"]
    figure = charts.heat_map(rows, "head", "layer", "delta", ("head", "layer", f"{AGAINST[against]}, nats"))
    charts.show(figure, f"heads {variant} {against}", f"{name}: entropy, {AGAINST[against]}, per head", facts, max(160, ROW * rows["layer"].n_unique()))
    layers = lake.select(f"select 'layer ' || layer as label, delta_{against} as delta, n, n_heads from rfc_layer where run_id = $run order by layer", run=run)
    figure = charts.bars(layers.drop("n"), "delta", f"{AGAINST[against]}, nats, mean over heads")
    charts.show(figure, f"layers {variant} {against}", f"{name}: entropy, {AGAINST[against]}, per layer", facts, max(80, ROW * layers.height))
    top = lake.select(
        f"""select 'layer ' || h.layer || ', head ' || h.head as label, r.delta_{against} as delta, h.d_{against} as cohens_d, h.n
        from head_entropy as h join rfc_head as r using (run_id, layer, head)
        where h.run_id = $run and h.category = 'self_referent' and coalesce(h.layer = $layer, true)
        order by abs(r.delta_{against}) desc limit {MOST_HEADS}""",
        run=run,
        layer=layer,
    )
    figure = charts.bars(top.drop("n"), "delta", f"{AGAINST[against]}, nats")
    title = f"{name}: the {top.height} heads where {AGAINST[against]} is largest"
    charts.show(figure, f"top heads {variant} {against}", title, [*facts, "chosen by the same figure that is shown"], max(80, ROW * top.height))


def show_positions(lake: Source, pair: dict, variant: str) -> None:
    """Self-referent against neutral at the first and at the last positions, then first against last by category: what position alone does."""
    control = lake.select(
        """select place as series, layer, case place when 'first three' then first_three - first_three_neutral else last_three - last_three_neutral end as mean,
          null::double as low, null::double as high, n
        from token_control cross join (values ('first three'), ('last three')) as v(place)
        where run_id = $run and category = 'self_referent' order by place, layer""",
        run=pair[f"{variant}_run"],
    )
    if control["mean"].count():
        facts = [
            "positions of a prompt; the first tokens hardly tell categories apart, so a difference there is none of meaning",
            f"{count_range(control['n'], 'prompt')} a category; mean over heads, no interval; no random draw, so no seed; form {pair['form']}",
        ]
        title = f"{pair[f'{variant}_checkpoint']}: self minus neutral at the first and the last three positions"
        charts.show(charts.curves(control, "self minus neutral, nats", ["first three", "last three"]), f"position control {variant}", title, facts, HEIGHT)
    rows = lake.select(
        """select category as series, layer, difference as mean, low, high, first_three, last_three, n from token_control
        where run_id = $run order by category, layer""",
        run=pair[f"{variant}_run"],
    )
    names = [name for name in CATEGORIES if name in rows["series"]]
    facts = [
        "band: 95% t interval over prompts, paired by prompt; no random draw, so no seed",
        f"{count_range(rows['n'], 'prompt')} a category; mean over heads; form {pair['form']}",
    ]
    title = f"{pair[f'{variant}_checkpoint']}: entropy at the last three positions minus the first three"
    charts.show(charts.curves(rows, "last minus first, nats", names), f"positions {variant}", title, facts, HEIGHT)


def show_ablations(lake: Source, pair: dict) -> None:
    """What changing single heads of the instruct checkpoint did."""
    rows = lake.select(
        """select layer, head, method, scale, log_prob_change, log_prob_low, log_prob_high,
          case movement when 'equivalent' then 'equivalent within ±' || margin else movement end as movement,
          kl, share_flipped, share_same, nll_change, entropy_change, n,
          n_clusters, run_id
        from ablation_effects where checkpoint = $checkpoint order by abs(log_prob_change) desc, layer, head, method, scale""",
        checkpoint=pair["instruct_checkpoint"],
    )
    st.markdown(f"**Heads changed in {plain(pair['instruct_checkpoint'])}**")
    if rows.is_empty():
        st.info(
            "No head of this checkpoint was changed: `personascope extract ablations --checkpoint ID --prompts NAME --set 'heads=[[LAYER,HEAD]]'` does it.",
            icon=":material/content_cut:",
        )
        return
    config: charts.Columns = {
        "log_prob_change": st.column_config.NumberColumn("log-probability", format="%+.3f", help="Mean change of the target's, or first choice's, nats."),
        "log_prob_low": st.column_config.NumberColumn("low", format="%+.3f", help="95% t interval over questions."),
        "log_prob_high": st.column_config.NumberColumn("high", format="%+.3f"),
        "movement": st.column_config.TextColumn("moved?", help="Two one-sided tests by question that the change lies within the margin (`thresholds`)."),
        "kl": st.column_config.NumberColumn("KL", format="%.3f"),
        "share_flipped": st.column_config.NumberColumn("first choice changed", format="percent"),
        "share_same": st.column_config.NumberColumn("continuations unchanged", format="percent"),
        "nll_change": st.column_config.NumberColumn("NLL of the old one", format="%+.3f"),
        "entropy_change": st.column_config.NumberColumn("entropy above", format="%+.4f", help="Mean change of attention entropy in the layers above, nats."),
        "n": "prompts",
        "n_clusters": "questions",
        "run_id": "run",
    }
    st.dataframe(rows, hide_index=True, column_config=config, height=charts.table_height(rows), placeholder="–")
    st.caption(f"{count(rows.height, 'change')}, each alone; the heads were chosen by an earlier figure on the same prompts.")
