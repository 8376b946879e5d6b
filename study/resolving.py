"""Settings of a study's steps: from the study file and its queries, the command line over them, each with its origin."""

from collections.abc import Mapping
from typing import Any

from personascope.extract.job import Extractor, Settings
from personascope.extract.registry import extractor, resolve_settings
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import Parameter, nearest
from personascope.warehouse.studies.model import CellStep, ExtractStep, GridStep, StudyFile


def typed_for(kind: type[Extractor[Any]], typed: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the typed settings that the extractor has; the others are meant for other steps."""
    return {key: value for key, value in typed.items() if key in kind.settings_type.model_fields}


def resolve_step(step: ExtractStep | CellStep, typed: Mapping[str, Any], queried: Mapping[str, Any] | None = None) -> tuple[Settings, list[Parameter]]:
    """Settings of a step and where each comes from: the study file and the rows of its queries, then the command line."""
    kind = extractor(step.extract)
    return resolve_settings(kind, {"study file": {**step.settings, **(queried or {})}, "command line": typed_for(kind, typed)})


def check_typed(study: StudyFile, typed: Mapping[str, Any]) -> None:
    """Refuses a typed setting that no extractor of the study has, which would change nothing."""
    steps = [each for step in study.steps for each in (step.cells if isinstance(step, GridStep) else [step])]
    known = {name for step in steps if isinstance(step, ExtractStep | CellStep) for name in extractor(step.extract).settings_type.model_fields}
    for name in typed:
        if name not in known:
            expected = f"expected some of {', '.join(sorted(known))}"
            raise PersonascopeError(f"study {study.name}: no extractor of its steps has the setting {name!r}; {nearest(name, known, expected)}")
