from typing import Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import Parameter, Typed, first_fault, first_sentence, nearest, resolve, short


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Walk(Strict):
    walk: str
    pace: int = Field(default=1, ge=1)
    along: Literal["river", "road"] | list[str] = "road"


class Rest(Strict):
    rest: str
    minutes: int
    seat: str


class Journey(Strict):
    name: str = ""
    steps: list[Walk | Rest] = []
    guests: dict[str, Rest | None] = {}
    places: list[tuple[int, int]] = []

    @model_validator(mode="after")
    def _named(self):
        if self.name == "nowhere":
            raise ValueError("expected a journey that leads somewhere")
        return self


def test_the_hint_names_the_nearest_known_or_all_of_them():
    assert nearest("trajectry", ["marker", "trajectory"]) == "did you mean 'trajectory'?"
    assert nearest("zebra", {"echo": 1, "lr-epochs": 2}) == "expected one of echo, lr-epochs"
    assert nearest("zebra", ["echo"], "expected a .yaml file") == "expected a .yaml file"
    assert nearest("zebra", []) == "there are none"
    assert nearest(3, ["echo"]) == "expected one of echo"


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"nam": "x"}, "nam is unknown (found 'x'); did you mean 'name'?"),
        ({"zebra": 1}, "zebra is unknown (found 1); expected one of name, steps, guests, places"),
        ({"name": 3}, "name is 3; input should be a valid string"),
        ({"name": "nowhere"}, "expected a journey that leads somewhere"),
        ({"steps": 1}, "steps is 1; input should be a valid list"),
        ({"steps": [{"rest": "x", "minutes": 1}]}, "steps.0.seat is missing"),
        ({"steps": [{"rest": "x", "minutes": 1, "seet": "y"}]}, "steps.0.seet is unknown (found 'y'); did you mean 'seat'?"),
        ({"steps": [{"walk": "x"}, {"walk": "y", "paec": 1}]}, "steps.1.paec is unknown (found 1); did you mean 'pace'?"),
        ({"steps": [{"walk": "y", "pace": 0}]}, "steps.0.pace is 0; input should be greater than or equal to 1"),
        ({"steps": [{"walk": "y", "along": "raod"}]}, "steps.0.along is 'raod'; input should be 'river' or 'road'"),
        ({"steps": [{"walk": "y", "along": ["a", 2, 3]}]}, "steps.0.along.1 is 2; input should be a valid string"),
        ({"guests": {"ann": {"rest": "x", "minutes": 2, "seat": "y", "minuts": 1}}}, "guests.ann.minuts is unknown (found 1); did you mean 'minutes'?"),
        ({"places": [[0, 1], [0, "b"]]}, "places.1.1 is 'b'; input should be a valid integer, unable to parse string as an integer"),
    ],
)
def test_the_first_fault_is_one_sentence_of_key_value_and_expectation(document, sentence):
    with pytest.raises(ValidationError) as raised:
        Journey.model_validate(document)
    assert first_sentence(raised.value, Journey) == sentence


def test_a_fault_knows_its_place_and_takes_another_name():
    with pytest.raises(ValidationError) as raised:
        Journey.model_validate({"steps": [{"walk": "x"}, {"walk": "y", "pace": 0}]})
    fault = first_fault(raised.value, Journey)
    assert (fault.place, fault.key) == (("steps", 1, "pace"), "steps.1.pace")
    assert fault.sentence("the pace") == "the pace is 0; input should be greater than or equal to 1"


def test_values_are_short_in_a_sentence():
    assert short({"a": 1}) == "an object of 1 keys" and short([]) == "[]" and short("x") == "'x'"
    assert short(list(range(100))) == "a list of 100" and len(short("x" * 300)) == 160 and len(short(10**100)) == 60


def test_settings_come_from_layers_of_increasing_weight_with_their_origins():
    settings, parameters = resolve(Walk, {"study file": {"walk": "far", "pace": 2}, "command line": {"pace": 3}}, "walk")
    assert settings == Walk(walk="far", pace=3)
    assert parameters == [
        Parameter(name="walk", value="far", origin="study file"),
        Parameter(name="pace", value=3, origin="command line"),
        Parameter(name="along", value="road", origin="default"),
    ]


class Trip(Strict):
    sign: str = ""
    word: str | None = None
    kind: Literal["no", "fast"] = "fast"
    stops: list[str] | None = None
    heads: Literal["all"] | str | list[tuple[int, int]] = "all"
    layers: Literal["all"] | list[int] = "all"
    count: int = 0
    rate: float | None = 0.5
    open: bool = False
    named: list[str] | None = Field(default=None, description="the stops (default: all)")


@pytest.mark.parametrize("text", ["[ZLT]", "END #1", "no", "yes", "null", "~", "1", "010", "1e3", "2024-01-01", " {a", "a: b", "'x'", "", "1:30"])
def test_a_text_setting_takes_text_as_typed(text):
    settings, _ = resolve(Trip, {"command line": {"sign": Typed(text), "word": Typed(text)}}, "trip")
    assert (settings.sign, settings.word) == (text, text)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("stops", "[no, 1, 010, null]", ["no", "1", "010", "null"]),
        ("stops", "null", None),
        ("kind", "no", "no"),
        ("heads", "1e3", "1e3"),
        ("heads", "[[0, 1]]", [(0, 1)]),
        ("layers", "all", "all"),
        ("layers", "[0, -1]", [0, -1]),
        ("count", "010", 10),
        ("rate", "1e-5", 1e-5),
        ("rate", "null", None),
        ("open", "yes", True),
    ],
)
def test_other_settings_are_read_by_their_type(name, text, value):
    assert getattr(resolve(Trip, {"command line": {name: Typed(text)}}, "trip")[0], name) == value


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"count": Typed("1:30")}, "trip: setting 'count' is '1:30' (command line); input should be a valid integer"),
        ({"layers": Typed("[0")}, "trip: setting 'layers' (command line): the value cannot be read"),
        ({"layers": Typed("[" * 10_000)}, "trip: setting 'layers' (command line): the value cannot be read (nested too deeply"),
        ({"stops": Typed("here")}, "trip: setting 'stops' is 'here' (command line); input should be a valid list"),
        (
            {"named": Typed("here")},
            "trip: setting 'named' is 'here' (command line); input should be a valid list, as named=[here]; named: the stops (default: all)",
        ),
        ({"layers": Typed("1,2")}, "trip: setting 'layers' is '1,2' (command line); input should be 'all' or a list, as layers=[1,2]"),
        ({"count": True}, "trip: setting 'count' is True (command line); expected no truth value: YAML reads yes, no, on and off as one"),
        ({"sign": False}, "trip: setting 'sign' is False (command line); expected no truth value"),
    ],
)
def test_what_cannot_be_read_as_its_type_is_refused(given, sentence):
    with pytest.raises(PersonascopeError) as raised:
        resolve(Trip, {"command line": given}, "trip")
    assert str(raised.value).startswith(sentence)


@pytest.mark.parametrize(
    ("model", "given", "sentence"),
    [
        (Walk, {"paec": 1}, "walk: setting 'paec' (study file) is unknown; did you mean 'pace'?"),
        (Walk, {"zebra": 1}, "walk: setting 'zebra' (study file) is unknown; expected one of walk, pace, along"),
        (Walk, {1: 1}, "walk: setting 1 (study file) is unknown; expected one of walk, pace, along"),
        (Walk, {"walk": "x", "pace": 0}, "walk: setting 'pace' is 0 (study file); input should be greater than or equal to 1"),
        (Walk, {"walk": "x", "along": ["a", 1]}, "walk: setting 'along.1' is 1 (study file); input should be a valid string"),
        (Walk, {}, "walk: setting 'walk' is missing (default)"),
        (Journey, {"name": "nowhere"}, "walk: expected a journey that leads somewhere"),
    ],
)
def test_refused_settings_are_named_with_value_and_origin(model, given, sentence):
    with pytest.raises(PersonascopeError) as raised:
        resolve(model, {"study file": given}, "walk")
    assert str(raised.value) == sentence
