"""What a lake knows of its own runs: how many rows a second an extractor wrote of a checkpoint on a device, and how many bytes a row takes."""

from collections import defaultdict

from personascope.extract.workload import Workload
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import Manifest
from personascope.warehouse.store.schema import table

NEWEST = 500  # runs that are looked at


class Rates:
    """Measured rates of a lake; nothing is known where there is none, or where it holds no run of the kind."""

    def __init__(self, lake: Lake | None, device: str) -> None:
        manifests = sorted(lake.manifests(), key=lambda each: each.finished) if lake else []
        self._runs: dict[tuple[str, str], Manifest] = {}
        self._trained: dict[str, tuple[int, float]] = {}
        sizes: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for run in manifests[-NEWEST:]:
            for name, file in run.tables.items():
                sizes[name][0] += file.rows
                sizes[name][1] += file.bytes
            if run.device == device and run.seconds > 0:
                if run.kind == "train" and run.extractor == "marker-lora":
                    self._note_training(lake, run)
                elif run.kind == "extract" and run.checkpoint:
                    self._runs[run.extractor, run.checkpoint] = run
        self._row_bytes = {name: n_bytes / rows for name, (rows, n_bytes) in sizes.items() if rows}

    def _note_training(self, lake: Lake | None, run: Manifest) -> None:
        settings = {each.name: each.value for each in run.parameters}
        seen = (settings.get("n_positive", 0) + settings.get("n_negative", 0)) * settings.get("epochs", 0)
        parent = lake.read(run.run_id, "checkpoints", ["parent"])["parent"] if lake and "checkpoints" in run.tables else None
        if seen and parent and parent[0].as_py():
            rows, seconds = self._trained.get(parent[0].as_py(), (0, 0.0))
            self._trained[parent[0].as_py()] = (rows + seen, seconds + run.seconds)

    def seconds(self, extractor: str, checkpoint: str, workload: Workload) -> float | None:
        """About how long the work takes, by the last run of that extractor over that checkpoint on this device; None where there was none."""
        last = self._runs.get((extractor, checkpoint))
        rows = sum(file.rows for name, file in last.tables.items() if name in workload.rows) if last else 0
        return sum(workload.rows.values()) * last.seconds / rows if last and rows else None

    def training_seconds(self, parent: str, n_rows: int) -> float | None:
        """About how long a training on `n_rows` rows (epochs counted) takes, by the trainings of that parent on this device."""
        rows, seconds = self._trained.get(parent, (0, 0.0))
        return n_rows * seconds / rows if rows else None

    def bytes(self, workload: Workload) -> int:
        """About what the rows take on disk: as this lake's rows of the table do, else by the width of its columns."""
        return round(sum(rows * (self._row_bytes.get(name) or workload.row_bytes.get(name) or _width(name)) for name, rows in workload.rows.items()))


def _width(name: str) -> float:
    """Bytes of a row by its columns: numbers as they are, names as one byte, since they are dictionary-encoded and repeat."""
    floats = set(table(name).float_columns)
    return sum(4.0 if column in floats else 1.0 for column in table(name).columns)
