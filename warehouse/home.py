"""Where the package's own files lie: the same tree of folders in a checkout and in an installation."""

from pathlib import Path

HOME = Path(__file__).resolve().parents[1]
SQL_FOLDER = HOME / "sql"
STUDIES_FOLDER = HOME / "mlflow" / "studies"
