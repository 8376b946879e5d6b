"""Which lake the app was asked to show: known without Streamlit, for what serves the app."""

import os
from pathlib import Path

ENVIRONMENT = "PERSONASCOPE_LAKE"
DEFAULT = "lake"


def lake_root() -> Path:
    """The folder the app was asked to show: PERSONASCOPE_LAKE, else ./lake."""
    return Path(os.environ.get(ENVIRONMENT) or DEFAULT).expanduser().absolute()
