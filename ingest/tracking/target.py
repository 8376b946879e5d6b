"""Decides, once and from named sources, which MLflow store and experiment runs are logged to, and says which source wins."""

import os
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.home import HOME
from personascope.warehouse.settings import Origin

DEFAULT_EXPERIMENT = "personascope"
ORDER = "settings count in the order command line, study file, environment, default"
DATABASES = ("sqlite", "postgresql", "mysql", "mssql")


@dataclass(frozen=True)
class TrackingTarget:
    """Where runs are logged and where each part of that came from.

    `experiment` is a name, or `#<id>` where the environment gives an id alone (then also in `experiment_id`). `artifacts` is the folder, as a URI, for
    files of a store that is a database without a server. `parent_run_id` is the MLflow run that `mlflow run` opened around this process. `notes` are
    sentences on environment variables that were overruled or followed.
    """

    uri: str
    uri_origin: Origin
    experiment: str
    experiment_origin: Origin
    notes: list[str]
    experiment_id: str | None = None
    artifacts: str | None = None
    parent_run_id: str | None = None

    @property
    def origin(self) -> str:
        """All of it in one line, for the manifest."""
        return "; ".join([f"store: {self.uri_origin}", f"experiment: {self.experiment_origin}", *self.notes])


def resolve_tracking(
    study_uri: str | None = None,
    study_experiment: str | None = None,
    typed_uri: str | None = None,
    typed_experiment: str | None = None,
    environ: Mapping[str, str] = os.environ,
    root: Path = HOME,
    *,
    lake: Path,
) -> TrackingTarget:
    """The store and experiment to use: command line before study file before environment before default.

    The default store is `mlflow/tracking.db` where `root` is a checkout, else `<lake>/mlflow/tracking.db`: the folder of an installation is shared by all lakes
    and goes with its environment. Raises PersonascopeError for a typed or study-file setting that is empty.
    """
    settings = {"--tracking-uri": typed_uri, "--experiment": typed_experiment, "study key tracking_uri": study_uri, "study key experiment": study_experiment}
    for where, value in settings.items():
        if value is not None and not value.strip():
            raise PersonascopeError(f"{where}: found {value!r}, expected an MLflow {'tracking URI' if 'uri' in where else 'experiment name'} (or leave it out)")
    is_checkout = all((root / file).is_file() for file in ("pyproject.toml", "mlflow/MLproject"))
    home = (root if is_checkout else lake).absolute() / "mlflow"
    asked = _normal(environ.get("MLFLOW_TRACKING_URI"))
    uri, uri_origin = _first(_normal(typed_uri), _normal(study_uri), asked, sqlite_uri(home / "tracking.db"))
    in_store_asked_for = asked in (None, uri)
    notes = []
    if not in_store_asked_for:
        notes.append(f"store {without_password(uri)} ({uri_origin}) wins over MLFLOW_TRACKING_URI={without_password(str(asked))}: {ORDER}")
    name, number = environ.get("MLFLOW_EXPERIMENT_NAME") or None, environ.get("MLFLOW_EXPERIMENT_ID") or None
    by_number = f"#{number}" if number and not name and in_store_asked_for else None
    experiment, experiment_origin = _first(typed_experiment, study_experiment, name or by_number, DEFAULT_EXPERIMENT)
    notes += _experiment_notes(experiment, experiment_origin, name, number)
    parent = environ.get("MLFLOW_RUN_ID") or None
    if parent and in_store_asked_for:
        notes.append(f"runs are logged as children of the MLflow run {parent} (MLFLOW_RUN_ID, set by `mlflow run`)")
    elif parent:
        notes.append(f"MLFLOW_RUN_ID={parent} is ignored: that run is in the store of MLFLOW_TRACKING_URI, which is not the one used")
    return TrackingTarget(
        uri,
        uri_origin,
        experiment,
        experiment_origin,
        notes,
        experiment_id=number if by_number and experiment_origin == "environment" else None,
        artifacts=_artifacts(uri, home),
        parent_run_id=parent if in_store_asked_for else None,
    )


def sqlite_uri(path: Path) -> str:
    """`sqlite:///` URI of a file; only what such a URI cannot hold literally is escaped."""
    return "sqlite:///" + str(path.absolute()).replace("%", "%25").replace("?", "%3F").replace("#", "%23")


def sqlite_file(uri: str) -> Path | None:
    """The file of an absolute sqlite URI; None for any other store."""
    return Path(unquote(uri.removeprefix("sqlite:///").partition("?")[0])) if uri.startswith("sqlite:////") else None


def without_password(uri: str) -> str:
    """`uri` as it may be printed and stored."""
    parts = urlsplit(uri)
    if parts.password is None:
        return uri
    return parts._replace(netloc=f"{parts.username}@{parts.netloc.rpartition('@')[2]}").geturl()


def _first(typed: str | None, study: str | None, environment: str | None, default: str) -> tuple[str, Origin]:
    if typed is not None:
        return typed, "command line"
    if study is not None:
        return study, "study file"
    if environment is not None:
        return environment, "environment"
    return default, "default"


def _normal(uri: str | None) -> str | None:
    """One spelling per store: sqlite paths absolute (the record is read from other folders), servers without a trailing slash; empty means unset."""
    if uri is None or not uri.strip():
        return None
    uri = uri.strip()
    path = uri.removeprefix("sqlite:///")
    if path != uri and path and not path.startswith(("/", ":memory:")):
        return f"{sqlite_uri(Path.cwd())}/{posixpath.normpath(path)}"
    return uri.rstrip("/") if uri.startswith(("http://", "https://")) else uri


def _experiment_notes(experiment: str, origin: Origin, name: str | None, number: str | None) -> list[str]:
    """Which environment variables lost against `experiment`, and why."""
    notes = []
    if name and name != experiment:
        notes.append(f"experiment {experiment!r} ({origin}) wins over MLFLOW_EXPERIMENT_NAME={name}: {ORDER}")
    if number and origin in ("command line", "study file"):
        notes.append(f"experiment {experiment!r} ({origin}) wins over MLFLOW_EXPERIMENT_ID={number}: {ORDER}")
    elif number and name:
        notes.append(f"MLFLOW_EXPERIMENT_NAME={name} wins over MLFLOW_EXPERIMENT_ID={number}: MLflow, too, looks at the name first")
    elif number and origin == "default":
        notes.append(f"MLFLOW_EXPERIMENT_ID={number} is ignored: it counts in the store of MLFLOW_TRACKING_URI, which is not the one used")
    return notes


def _artifacts(uri: str, home: Path) -> str | None:
    """Files of a database store: beside our own store in `artifacts`, beside another sqlite file in `mlruns` (MLflow's word); servers decide themselves."""
    if not uri.startswith(DATABASES):
        return None
    file = sqlite_file(uri)
    return (file.parent / "mlruns" if file and file != home / "tracking.db" else home / "artifacts").as_uri()
