"""A logged run can be opened from what its manifest records."""

from personascope.warehouse.drawing.tracking_links import run_url, ui_command
from personascope.warehouse.store.manifest import MlflowRecord


def test_a_logged_run_can_be_opened():
    record = MlflowRecord(run_id="abc", experiment="e", tracking_uri="https://tracking/", origin="")
    assert run_url(record) == "https://tracking/#/runs/abc"
    assert ui_command(record) is None
    local = record.model_copy(update={"tracking_uri": "sqlite:////my lake/tracking.db"})
    assert run_url(local) is None
    assert ui_command(local) == "mlflow ui --backend-store-uri 'sqlite:////my lake/tracking.db'   # then http://127.0.0.1:5000/#/runs/abc"
    assert ui_command(record.model_copy(update={"tracking_uri": "databricks"})) is None
