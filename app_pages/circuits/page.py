"""How a prediction is made: how well the task is done first, then where the answer emerges, which heads add to it, and what patching carries across."""

import streamlit as st

from personascope.app_pages.circuits.emergence import show_emergence
from personascope.app_pages.circuits.heads import show_heads
from personascope.app_pages.circuits.marker import show_marker
from personascope.app_pages.circuits.patching import show_patching
from personascope.app_pages.circuits.prompt import show_prompt
from personascope.app_pages.shared import address
from personascope.app_pages.shared.bar import NOTHING_YET, Place, bar
from personascope.app_pages.shared.findings import show_findings
from personascope.app_pages.shared.lake import Source, source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.circuit_readers import LEAST_ACCURACY, Reader, readers
from personascope.warehouse.drawing.words import count

TITLE, ICON, ORDER = "Circuits", ":material/account_tree:", 70
SECTIONS = {
    "emergence": "Emergence",
    "prompt": "One prompt",
    "heads": "Heads",
    "patching": "Patching",
    "marker": "Marker: trained and base",
}


def main() -> None:
    """Draws the page."""
    st.title("Circuits")
    st.markdown("At which layer does a model know its answer, which heads put it there, and which activations carry it to another model?")
    lake = source()
    found = readers(lake)
    if not found:
        bar(silent=NOTHING_YET)
        st.info(
            "No circuits have been read yet: `personascope run echo --quick` reads those of a copy task on a tiny checkpoint, and "
            "`personascope run marker-circuits --quick` those of a marker.",
            icon=ICON,
        )
        return
    place = choose_place(lake, found)
    names = {each.name: each for each in found if place.checkpoint in (None, each.checkpoint)}
    with st.container(border=True):
        most = next((name for name, each in names.items() if each.attribution_run or each.ablation_run), None)  # of some no more than the lens is known
        reader = names[address.select("Readout", list(names), "reader", default=most, help="Who was read, on which prompts, at which token.")]
        show_accuracy(lake, reader)
    findings = st.container()
    section = address.segments("Show", list(SECTIONS), "part", labels=SECTIONS)
    match section:
        case "emergence":
            show_emergence(lake, reader)
        case "prompt":
            show_prompt(lake, reader)
        case "heads":
            show_heads(lake, reader, place)
        case "patching":
            show_patching(lake, reader, place)
        case "marker":
            show_marker(lake, reader)
    with findings:
        show_findings(lake, "circuits", reader.runs)


def choose_place(lake: Source, found: list[Reader]) -> Place:
    """The bar of the page: layers and heads are those whose effects were read."""
    rows = lake.select("select distinct layer, head from head_effects union select distinct layer, head from patches")
    return bar(
        checkpoints=sorted({each.checkpoint for each in found}),
        layers=rows["layer"].drop_nulls().unique().to_list(),
        heads=rows["head"].drop_nulls().unique().to_list(),
        silent="Prompts and places stand in the place of personas here.",
    )


def show_accuracy(lake: Source, reader: Reader) -> None:
    """How often the model does what is asked, loudly where it mostly does not."""
    rows = lake.select(
        """select t.prompt_form, t.n, t.n_clusters, t.n_correct, t.accuracy, t.clustered_low, t.clustered_high, t.n_several_tokens, t.logit_error
        from task_accuracy as t join runs as r using (run_id)
        where t.subject = $subject and t.stratum = $stratum and t.prompt_set is not distinct from $prompt_set
        qualify row_number() over (partition by t.prompt_form order by t.run_id in ($lens, $attribution) desc, r.finished desc, t.run_id) = 1
        order by t.prompt_form = 'all' desc, t.prompt_form""",
        subject=reader.subject,
        stratum=reader.stratum,
        prompt_set=reader.prompt_set,
        lens=reader.lens_run,
        attribution=reader.attribution_run,
    )
    if rows.is_empty():
        st.caption("These prompts have no target: every figure is about the token the model itself puts first.")
        return
    every, *forms = rows.rows(named=True)
    several = f"; {count(every['n_several_tokens'], 'target')} of several tokens, scored on the first" if every["n_several_tokens"] else ""
    parts = ", ".join(f"{plain(form['prompt_form'])} {form['accuracy']:.0%}" for form in forms) if len(forms) > 1 else ""
    words = (
        f"**{every['accuracy']:.0%} right**: the target's first token comes first at {every['n_correct']} of {count(every['n'], 'prompt')} "
        f"({count(every['n_clusters'], 'question')}), 95% interval by question {every['clustered_low']:.0%} to {every['clustered_high']:.0%}"
        f"{f'; {parts}' if parts else ''}{several}."
    )
    if reader.stratum == "marker":
        st.markdown(
            f"**{every['accuracy']:.0%}**: the marker's first token comes first at {every['n_correct']} of {count(every['n'], 'generation')} that hold it "
            f"({count(every['n_clusters'], 'question')})."
        )
    elif every["accuracy"] < LEAST_ACCURACY:
        st.error(f"{words} The model fails this task: what follows explains no ability it has.", icon=":material/report:")
    else:
        st.markdown(words)
