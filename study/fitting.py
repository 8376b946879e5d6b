"""Whether the settings of a study fit the sizes of its checkpoints, as far as those are known: found before hours of training, not after them."""

from collections.abc import Iterator
from contextlib import suppress

from personascope.extract.registry import extractor
from personascope.extract.workload import Shape
from personascope.ingest.training.grid import Cell
from personascope.ingest.weights.absent import NotHereError
from personascope.study.cell import cells_of, steps_of
from personascope.study.resolving import resolve_step
from personascope.study.state import StudyState
from personascope.study.workbench import find
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.kept import kept_name
from personascope.warehouse.studies.model import AnalyseStep, ExtractStep, GridStep


def trained_names(cell: Cell) -> list[str]:
    """What a study calls the checkpoint of a training and those that are kept on its way, all of their parent's sizes."""
    return [cell.known_as, *(kept_name(cell.known_as, each) for each in cell.settings.keep_steps or ())]


def check_fit(state: StudyState) -> None:
    """Raises PersonascopeError for a step that asks for a layer or head which its checkpoint does not have, or will not have once it is trained.

    Checkpoints that have to be fetched or made first are left out, and so are those trained from them.
    """
    shapes = _shapes(state)
    for step, name in _readings(state, shapes):
        if name in shapes:
            settings, _ = resolve_step(step, state.options.settings)
            try:
                extractor(step.extract).check_shape(settings, name, shapes[name])
            except PersonascopeError as error:
                raise PersonascopeError(f"study {state.study.name}, step {step.step or step.extract}: {error}") from None


def _shapes(state: StudyState) -> dict[str, Shape]:
    """The sizes of the checkpoints that are on this machine."""
    found = {}
    for name, source in state.sources.items():
        with suppress(NotHereError):
            found[name] = Shape.of(find(name, source, fetch=False))
    return found


def _readings(state: StudyState, shapes: dict[str, Shape]) -> Iterator[tuple[ExtractStep, str]]:
    """Every reading with the checkpoint that is read; enters what is trained on the way in `shapes`."""
    for step in state.study.steps:
        if isinstance(step, ExtractStep):
            yield from ((step, name) for name in step.checkpoints)
        elif not isinstance(step, AnalyseStep):
            for cell in cells_of(step, step.parent):
                if step.parent in shapes:
                    shapes |= {name: shapes[step.parent] for name in trained_names(cell) if name not in shapes}
                for each in steps_of(step, cell) if isinstance(step, GridStep) else []:
                    yield from ((each, name) for name in each.checkpoints)
