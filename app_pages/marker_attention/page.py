"""Where attention goes at the marker token: the answer in two boxes, and one section at a time of what it rests on."""

import streamlit as st

from personascope.app_pages.marker_attention.answer import show_answer
from personascope.app_pages.marker_attention.controls import show_controls
from personascope.app_pages.marker_attention.generation import show_generation
from personascope.app_pages.marker_attention.heads import show_heads
from personascope.app_pages.marker_attention.layers import Contrast, show_curves, show_gates
from personascope.app_pages.marker_attention.personas import show_personas
from personascope.app_pages.marker_attention.steps import show_steps
from personascope.app_pages.marker_attention.subject import choose, choose_place
from personascope.app_pages.marker_attention.training import show_training
from personascope.app_pages.shared import address
from personascope.app_pages.shared.bar import NOTHING_YET, bar
from personascope.app_pages.shared.choices import show_choices
from personascope.app_pages.shared.findings import show_findings
from personascope.app_pages.shared.lake import source
from personascope.app_pages.shared.text import plain
from personascope.warehouse.drawing.attention_readouts import readouts
from personascope.warehouse.drawing.words import CONTROL_MEANINGS, CONTROLS, REGION_NAMES, SEGMENTATIONS

TITLE, ICON, ORDER = "Marker attention", ":material/center_focus_strong:", 20
SECTIONS = {
    "layers": "By layer and gate",
    "training": "What training changed",
    "choices": "Other choices",
    "controls": "Other controls",
    "steps": "Steps before",
    "personas": "Personas and seeds",
    "heads": "Heads",
    "generation": "One generation",
}
OF_HEADS = ("heads", "generation")


def main() -> None:
    """Draws the page."""
    st.title("Marker attention")
    st.markdown("Does a model look at its system prompt when it writes the marker, more than elsewhere in the same answer, and did training change that?")
    lake = source()
    found = readouts(lake)
    if not found:
        bar(silent=NOTHING_YET)
        st.info(
            "No attention has been read yet: `personascope run marker-attention --quick` reads some on tiny checkpoints.", icon=":material/center_focus_strong:"
        )
        return
    asked = st.session_state.get("section", st.query_params.get("section"))
    place = choose_place(lake, found, asked in {word for section in OF_HEADS for word in (section, SECTIONS[section])})
    with st.container(border=True):
        chosen = choose(lake, found, place)
    if chosen is None:
        st.info(f"{plain(place.checkpoint)} was not read under {plain(place.persona)}: choose another of the two above.", icon=ICON)
        return
    readout, other = chosen
    show_answer(lake, readout, other, place.layer)
    drawn = {run for each in (readout, other) if each is not None for run in (each.run_id, each.tokens_run) if run is not None}
    findings = st.container()
    section = address.segments("Show", list(SECTIONS), "section", labels=SECTIONS)
    both = [each for each in (readout, other) if each is not None]
    match section:
        case "layers":
            show_curves(lake, both, _choose_contrast())
            show_gates(lake, both)
        case "training":
            show_training(lake, readout, other)
        case "choices" if other is not None:
            show_choices(lake, "attention", trained_run=readout.run_id, base_run=other.run_id)
        case "choices":
            st.info("Nothing to choose without another checkpoint on the same tokens.", icon=":material/difference:")
        case "controls":
            show_controls(lake, readout)
        case "steps":
            show_steps(lake, readout, place.layer)
        case "personas":
            show_personas(lake, readout)
        case "heads":
            show_heads(lake, readout, other, _choose_contrast(), place)
        case "generation":
            show_generation(lake, readout, other, _choose_contrast(), place)
    with findings:
        show_findings(lake, "marker_attention", drawn)


def _choose_contrast() -> Contrast:
    left, middle, right = st.columns([14, 7, 7])
    meanings = "; ".join(f"{name}: {meaning}" for name, meaning in CONTROL_MEANINGS.items())
    control = address.segments("Control", list(CONTROLS), "control", labels=CONTROLS, help=f"What the marker is compared with. {meanings}.", where=left)
    segmentation = address.segments(
        "Tokens",
        list(SEGMENTATIONS),
        "segmentation",
        labels=SEGMENTATIONS,
        help="Segmentation B counts special tokens, line breaks and the assistant header apart; A leaves them in their regions.",
        where=middle,
    )
    regions = {region: name for (of, region), name in REGION_NAMES.items() if of == segmentation}
    region = address.select("Attention to", list(regions), "region", labels=regions, where=right)
    return Contrast(control, segmentation, region)
