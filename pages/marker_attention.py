"""Where attention goes at the marker token: by layer, against the untrained model, head by head, and in one generation."""

import streamlit as st

from pages._findings import show_findings
from pages._lake import source
from pages._marker_example import show_example
from pages._marker_layers import Contrast, show_curves, show_difference, show_gates, show_heads
from pages._readouts import choose, readouts
from pages._url import Choices
from pages._words import CONTROL_MEANINGS, CONTROLS, REGION_NAMES, SEGMENTATIONS

TITLE, ICON, ORDER = "Marker attention", ":material/center_focus_strong:", 20


def main() -> None:
    """Draws the page."""
    st.title("Marker attention")
    st.markdown("Does a model look at its system prompt when it writes the marker, more than elsewhere in the same answer, and did training change that?")
    choices = Choices()
    lake = source()
    found = readouts(lake)
    if not found:
        st.info(
            "No attention has been read yet: `personascope run marker-attention --quick` reads some on tiny checkpoints.", icon=":material/center_focus_strong:"
        )
        return
    with st.container(border=True):
        readout, other = choose(lake, choices, found)
        contrast = _choose_contrast(choices)
    findings = st.container()
    both = [each for each in (readout, other) if each is not None]
    show_curves(lake, both, contrast)
    st.subheader("Trained against untrained", divider="gray")
    show_difference(lake, readout, other)
    st.subheader("Gates and windows", divider="gray")
    show_gates(lake, both)
    st.subheader("Heads", divider="gray")
    show_heads(lake, readout, other, contrast, choices)
    st.subheader("One generation", divider="gray")
    show_example(lake, readout, other, contrast, choices)
    with findings:
        show_findings(lake, "marker_attention")


def _choose_contrast(choices: Choices) -> Contrast:
    left, middle, right = st.columns([14, 7, 7])
    meanings = "; ".join(f"{name}: {meaning}" for name, meaning in CONTROL_MEANINGS.items())
    control = choices.segments("Control", list(CONTROLS), "control", labels=CONTROLS, help=f"What the marker is compared with. {meanings}.", where=left)
    segmentation = choices.segments(
        "Tokens",
        list(SEGMENTATIONS),
        "segmentation",
        labels=SEGMENTATIONS,
        help="Segmentation B counts special tokens, line breaks and the assistant header apart; A leaves them in their regions.",
        where=middle,
    )
    regions = {region: name for (of, region), name in REGION_NAMES.items() if of == segmentation}
    region = choices.select("Attention to", list(regions), "region", labels=regions, where=right)
    return Contrast(control, segmentation, region)


if __name__ == "__main__":  # Streamlit runs the page's own file when a fresh server is opened at the page's address
    import app

    app.main()
