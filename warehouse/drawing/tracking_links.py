"""How a person opens the MLflow run of a manifest: an address where the store is a server, a command where it is a database."""

import shlex

from personascope.warehouse.store.manifest import MlflowRecord

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
LOCAL_UI = "http://127.0.0.1:5000"


def run_url(record: MlflowRecord) -> str | None:
    """Address of the run's page in a tracking server's web interface; None where the store is not an http(s) server."""
    return _page(record.tracking_uri, record) if record.tracking_uri.startswith(("http://", "https://")) else None


def ui_command(record: MlflowRecord) -> str | None:
    """Shell command that shows a database store in the browser, and where the run is then; None for other stores."""
    if not record.tracking_uri.startswith(DATABASES):
        return None
    return f"mlflow ui --backend-store-uri {shlex.quote(record.tracking_uri)}   # then {_page(LOCAL_UI, record)}"


def _page(server: str, record: MlflowRecord) -> str:
    return f"{server.rstrip('/')}/#/runs/{record.run_id}"
