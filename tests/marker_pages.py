"""Titles of the charts on the marker attention page, and its words."""

DIFFERENCE = "Difference of differences: what training changed"
HEADS = "Marker minus control, head by head"
POSITIONS = "Where attention goes at the positions read"
PEAKS = "Where the effect peaks: the layer of its largest mean"
STEPS = "The last steps: answers with the marker against answers without"
SEGMENTATION = "Does the effect sit on structural tokens? Whole system block against its content"
SELECTION = "Heads picked on half of the questions, measured on the other half"
EXAMPLE = "The same generation by layer: system prompt, content"
C1_TITLE = "Attention to the system prompt, content: at the marker, minus five random positions earlier in the same answer"


def texts(page) -> str:
    return "\n".join(each.value for each in page.markdown)
