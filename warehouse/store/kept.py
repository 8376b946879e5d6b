"""What the checkpoints are called that a training keeps on its way."""

import re

_STEP = re.compile(r"-step\d+$")


def kept_name(trained: str, step: int) -> str:
    """The short name of the checkpoint kept behind an optimiser step of the training that made `trained`."""
    return f"{trained}-step{step}"


def trained_name(checkpoint: str) -> str:
    """The checkpoint that a training ends with, of one that it may have kept on its way; any other name as it is."""
    return _STEP.sub("", checkpoint)
