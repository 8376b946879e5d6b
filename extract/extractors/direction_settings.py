"""What directions are asked for: the settings of the extractor `directions`, and what they mean over the personas and conditions of a run of activations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import Literal

from pydantic import Field, model_validator

from personascope.extract.instruments.contrasts import OTHERS, Contrast, axis, difference, from_others, probe
from personascope.extract.instruments.residual import SITES, Site
from personascope.extract.job import Settings
from personascope.extract.texts.halves import MadeOn
from personascope.extract.workload import Directed
from personascope.ingest.sae.source import SUBFOLDER, TRAINED
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import nearest

Kind = Literal["persona_assistant", "persona_others", "condition", "axis", "probe", "sae", "file"]
OF_ACTIVATIONS = ("persona_assistant", "persona_others", "condition", "axis", "probe")
NEWEST = "newest"


class DirectionSettings(Settings):
    """What directions are made of what, and how many controls stand beside them."""

    make: list[Kind] = Field(
        default=["persona_assistant"],
        min_length=1,
        description="persona_assistant, persona_others (minus the mean of the others), condition, axis (of the persona map), probe, sae, file",
    )
    activations: str = Field(default=NEWEST, description="run of activations to make them from, or the newest of this checkpoint")
    stratum: str | None = Field(default=None, description="place whose activations are taken (default: the only one of the run)")
    layers: Literal["all"] | list[int] = Field(default="all", description="decoder layers from 0, negative from the end, or all that there are")
    sites: list[Site] | None = Field(default=None, description=f"some of {', '.join(SITES)} (default: those of the run)")
    personas: list[str] | None = Field(default=None, description="personas that directions point to (default: all but the assistant)")
    assistant: str = Field(default="assistant", description="persona that is subtracted, and that lies above the mean on an axis")
    half: MadeOn = Field(default="a", description="questions they are made on: a, b, or all, which leaves none to use them on")
    axes: int = Field(default=1, ge=1, description="how many axes of the persona map; the first over many roles is the assistant axis")
    sae: str = Field(default=TRAINED, description="autoencoder of `sae`: folder, Hub id ID[@REVISION], a run of train-sae, or trained")
    subfolder: str = Field(default=SUBFOLDER, description="where below a folder or Hub id the autoencoder of a layer lies")
    features: list[tuple[int, int]] = Field(default=[], description="features of `sae`, each [layer, feature]: their decoder columns")
    file: str | None = Field(default=None, description="file of `file`: .pt, .safetensors, .npy, or a control vector .gguf")
    random: int = Field(default=20, ge=0, description="controls: random directions")
    random_in_span: int = Field(default=0, ge=0, description="controls: random directions in the span of the personas' means")
    shuffled: int = Field(default=0, ge=0, description="controls: the direction made after the labels were shuffled within each question")
    controls_of: str | None = Field(default=None, description="direction whose norm, and labels, the controls have (default: the first one)")

    @model_validator(mode="after")
    def _complete(self) -> "DirectionSettings":
        if ("sae" in self.make) != bool(self.features):
            raise ValueError("expected features, each [layer, feature], with make=[sae], and only then")
        if ("file" in self.make) != bool(self.file):
            raise ValueError("expected file=PATH with make=[file], and only then")
        return self


@dataclass(frozen=True)
class Wanted:
    """A direction that is made of activations: of which grouping and groups, and how."""

    id: str
    kind: Kind
    grouping: Literal["persona", "condition"]
    groups: tuple[str, ...]
    contrast: Contrast
    persona: str | None = None
    other: str | None = None


def wishes(settings: DirectionSettings, run_id: str, personas: Sequence[str], conditions: Sequence[str]) -> Iterator[Wanted]:
    """The directions to be made of activations of these personas and conditions; raises PersonascopeError, naming the run, for what it does not have."""
    for persona in settings.personas or ():
        if persona not in personas:
            raise PersonascopeError(f"directions: run {run_id} has no persona {persona!r}; {nearest(persona, personas)}")
    pointed = [each for each in settings.personas or personas if each != settings.assistant]
    for kind in dict.fromkeys(settings.make):
        if kind in ("persona_assistant", "probe"):
            if settings.assistant not in personas:
                near = nearest(settings.assistant, personas)
                raise PersonascopeError(f"directions: run {run_id} has no persona {settings.assistant!r} to subtract; {near} (setting assistant)")
            if not pointed:
                raise PersonascopeError(f"directions: run {run_id} has no persona besides {settings.assistant!r}; expected two or more")
            for persona in pointed:
                ends = (persona, settings.assistant)
                name, make = ("-".join(ends), difference) if kind == "persona_assistant" else ("-".join(ends) + "-probe", probe)
                yield Wanted(name, kind, "persona", ends, partial(make, group=persona, other=settings.assistant), *ends)
        elif kind == "persona_others":
            expect(run_id, "personas", personas, 2)
            for persona in settings.personas or personas:
                yield Wanted(f"{persona}-{OTHERS}", kind, "persona", tuple(personas), partial(from_others, group=persona), persona, OTHERS)
        elif kind == "axis":
            expect(run_id, "personas", personas, settings.axes + 2)
            up = settings.assistant if settings.assistant in personas else None
            for number in range(1, settings.axes + 1):
                yield Wanted(f"axis-{number}", kind, "persona", tuple(personas), partial(axis, number=number, up=up), up)
        elif kind == "condition":
            expect(run_id, "conditions", conditions, 2)
            for one, other in combinations(conditions, 2):
                yield Wanted(f"{one}-{other}", kind, "condition", (one, other), partial(difference, group=one, other=other), one, other)


def directed_of(settings: DirectionSettings, n_personas: int, n_conditions: int, n_layers: int) -> Directed:
    """How many directions and controls these settings make of activations of so many personas, conditions and layers."""
    to_assistant = len(settings.personas) if settings.personas else n_personas - 1
    made = {
        "persona_assistant": to_assistant,
        "probe": to_assistant,
        "persona_others": len(settings.personas) if settings.personas else n_personas,
        "axis": settings.axes,
        "condition": n_conditions * (n_conditions - 1) // 2,
        "sae": len(settings.features),
        "file": 1,
    }
    n_layers = n_layers if settings.layers == "all" else len(set(settings.layers))
    return Directed(sum(made[kind] for kind in set(settings.make)), settings.random + settings.random_in_span + settings.shuffled, n_layers)


def expect(run_id: str, what: str, found: Sequence[str], fewest: int) -> None:
    """Raises PersonascopeError where a run has fewer personas or conditions than a direction takes."""
    if len(found) < fewest:
        raise PersonascopeError(f"directions: run {run_id} has {len(found)} {what}; expected {fewest} or more")
