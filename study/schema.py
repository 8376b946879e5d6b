"""JSON Schema of the study file, with the extractors, views, figures and pages there are, so that an editor completes and checks what is typed."""

from typing import Any

from personascope.extract.registry import extractors
from personascope.ingest.prompts import SHIPPED
from personascope.ingest.training.grid import AXES
from personascope.ingest.training.marker_lora import LoraSettings
from personascope.warehouse.analyses import analyses
from personascope.warehouse.asking.views import views
from personascope.warehouse.studies.model import StudyFile
from personascope.warehouse.studies.reading import figure_names, page_names
from personascope.warehouse.studies.variants import VARIANTS


def study_schema() -> dict[str, Any]:
    """The schema (draft 2020-12): StudyFile as pydantic writes it, names narrowed to those that exist, settings to those of the extractor a step names."""
    schema = StudyFile.model_json_schema()
    definitions = schema["$defs"]
    for name, kind in extractors().items():
        definitions[f"settings of {name}"] = _inlined(kind.settings_type.model_json_schema(), definitions, name) | {"title": f"settings of {name}"}
    definitions["settings of marker-lora"] = _inlined(LoraSettings.model_json_schema(), definitions, "marker-lora") | {"required": []}
    for step in ("ExtractStep", "CellStep"):
        definitions[step]["properties"]["extract"]["enum"] = list(extractors())
        definitions[step]["allOf"] = [
            {"if": {"properties": {"extract": {"const": name}}}, "then": {"properties": {"settings": {"$ref": f"#/$defs/settings of {name}"}}}}
            for name in extractors()
        ]
        definitions[step]["properties"]["prompts"]["examples"] = list(SHIPPED)
    for step in ("TrainStep", "GridStep"):
        definitions[step]["properties"]["settings"] = {"$ref": "#/$defs/settings of marker-lora"}
    definitions["GridStep"]["properties"]["axes"]["propertyNames"] = {"enum": list(AXES)}
    definitions["AnalyseStep"]["properties"]["analyse"]["enum"] = ["all", *analyses()]
    properties = schema["properties"]
    for key, known in (("views", list(views())), ("figures", figure_names()), ("pages", page_names())):
        properties[key]["items"] = {"enum": known}
    properties["prompts"]["examples"] = list(SHIPPED)
    for variant in VARIANTS[1:]:
        properties[variant] = _variant(variant, properties)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _variant(name: str, properties: dict[str, Any]) -> dict[str, Any]:
    """What a variant's block may hold: keys of the file, and changes of steps by their names."""
    changes = {
        "type": "object",
        "description": "keys to change, by the name of the step; null takes a setting away",
        "additionalProperties": {"type": "object"},
    }
    return {
        "type": "object",
        "description": f"keys of the file that the variant {name} has otherwise",
        "additionalProperties": False,
        "properties": {key: value for key, value in properties.items() if key not in ("name", *VARIANTS)} | {"steps": changes},
    }


def _inlined(schema: dict[str, Any], definitions: dict[str, Any], owner: str) -> dict[str, Any]:
    """A settings schema whose own definitions are moved to those of the whole."""
    for name, each in schema.pop("$defs", {}).items():
        definitions.setdefault(name, each)
    # Settings may also come from a query or the command line, so that none has to stand in the file.
    return {key: value for key, value in schema.items() if key not in ("title", "required", "description")}
