"""What a run of a study would do, told without loading, downloading or writing anything: checkpoints, runs and their state, tokens, bytes and time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from personascope.extract.extractors.activations import ActivationSettings
from personascope.extract.extractors.direction_settings import DirectionSettings, directed_of
from personascope.extract.extractors.features import FeatureSettings
from personascope.extract.job import Extractor, Job
from personascope.extract.registry import extractor
from personascope.extract.weights.on_device import Models
from personascope.extract.workload import Directed, Shape, Texts
from personascope.ingest.prompts import PromptSet, load_prompt_set
from personascope.ingest.sae.source import TRAINED, TRAINER
from personascope.ingest.training.grid import Cell
from personascope.ingest.training.run import Training, known_divergence, recorded_checkpoint
from personascope.ingest.weights.absent import NotHereError
from personascope.ingest.weights.checkpoints import Checkpoint, check_weights, resolve
from personascope.study.cell import cells_of, steps_of
from personascope.study.fitting import trained_names
from personascope.study.rates import Rates
from personascope.study.resolving import resolve_step
from personascope.study.state import StudyState
from personascope.study.workbench import ask, find, named_for_steps
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.schema import tables
from personascope.warehouse.studies.model import AnalyseStep, ExtractStep, GridStep, TrainStep

State = Literal["in the lake", "resumes", "to do", "after other steps", "diverged before", "cannot work"]
CHARACTERS_PER_TOKEN = 4
ONE = Shape(1, 1, 1)
FRAME = 12  # tokens that a chat template puts around a prompt, about


@dataclass(frozen=True)
class PlannedCheckpoint:
    """A checkpoint of the study file: `state` says whether it is on this machine and what happens where it is not; `bytes` are those of its weights."""

    name: str
    id: str
    revision: str | None
    state: str
    bytes: int | None = None
    shape: Shape | None = None


@dataclass(frozen=True)
class PlannedRun:
    """One run of a step: `reads` is the prompt set or the completions it reads, of which there are `texts`.

    Numbers are None where nothing tells them; `seconds` is known where this lake knows how fast the extractor was there.
    """

    step: str
    work: str
    reader: str
    state: State
    tokens_of: str | None = None
    run_id: str | None = None
    reads: str = ""
    texts: Texts | None = None
    tokens: int | None = None
    rows: int | None = None
    bytes: int | None = None
    seconds: float | None = None
    parameters: tuple[Parameter, ...] = ()
    note: str = ""


@dataclass
class StudyPlan:
    """The plan of one study over one lake."""

    state: StudyState
    device: str
    checkpoints: list[PlannedCheckpoint] = field(default_factory=list)
    runs: list[PlannedRun] = field(default_factory=list)

    @property
    def problems(self) -> list[str]:
        """A sentence for every run that cannot work."""
        return [f"{run.step}, {run.reader}: {run.note}" for run in self.runs if run.state == "cannot work"]

    @property
    def to_do(self) -> list[PlannedRun]:
        return [run for run in self.runs if run.state in ("to do", "resumes", "after other steps")]


def plan_study(state: StudyState) -> StudyPlan:
    """The plan of a study whose settings have been checked (`check_study`)."""
    from personascope.ingest.weights.hub import offline

    state.study.expect_steps()
    with offline():
        return _Planner(state).plan()


@dataclass(frozen=True)
class _Made:
    """Completions that a planned run makes: the run where it is known, whether it is in the lake, and how much there will be to read."""

    run_id: str | None
    committed: bool
    texts: Texts | None


class _Planner:
    def __init__(self, state: StudyState) -> None:
        options = state.options
        self.state = state
        self.lake = Lake.existing(state.lake) if (state.lake / "runs").is_dir() else None
        self.models = Models(options.device, options.dtype, options.attention, sharding=options.sharding)
        self.device = self.models.device_name()[0]
        self.rates = Rates(self.lake, self.device)
        self.checkpoints: dict[str, Checkpoint] = {}
        self.shapes: dict[str, Shape] = {}
        self.made: dict[tuple[str, str], _Made] = {}
        self.layers: dict[str, int] = {}  # of the activations of a checkpoint
        self.directed: dict[str, Directed] = {}
        self.encoders: set[str] = set()  # checkpoints whose autoencoders a step will train

    def plan(self) -> StudyPlan:
        found = StudyPlan(self.state, self.device, list(self._checkpoints()))
        for step in self.state.study.steps:
            if isinstance(step, ExtractStep):
                found.runs += self._readings(step)
            elif isinstance(step, AnalyseStep):
                found.runs.append(PlannedRun(step.step or step.analyse, "analysis", step.analyse, "to do", note="what is current already is left"))
            else:
                found.runs += self._trainings(step)
        found.runs = [self._as_written(run) for run in found.runs]
        return found

    def _as_written(self, run: PlannedRun) -> PlannedRun:
        """A run of the lake with the rows and bytes that it has: what an extractor reads of completions is known at most before it looks for markers."""
        if run.state != "in the lake" or run.run_id is None or self.lake is None:
            return run
        known = tables()
        files = [file for name, file in self.lake.manifest(run.run_id).tables.items() if name in known and not known[name].rollup_of and name != "checkpoints"]
        return replace(run, rows=sum(file.rows for file in files), bytes=sum(file.bytes for file in files))

    def _checkpoints(self) -> Iterator[PlannedCheckpoint]:
        for name, source in self.state.sources.items():
            try:
                checkpoint = find(name, source, self._called, fetch=False)
            except NotHereError as error:
                yield PlannedCheckpoint(name, source.id, source.revision, str(error))
                continue
            self._keep(name, checkpoint)
            size = sum(file.stat().st_size for file in _weights(checkpoint))
            shown = name if name == checkpoint.name else f"{name}: {checkpoint.name}"
            yield PlannedCheckpoint(shown, checkpoint.id, checkpoint.revision, "on this machine", size, self.shapes[name])

    def _called(self, name: str) -> str:
        """What the rows of a checkpoint will be called; as the study calls it where that is not known before it is fetched."""
        if name in self.checkpoints:
            return self.checkpoints[name].name
        source = self.state.sources.get(name)
        return (source and source.called) or name

    def _keep(self, name: str, checkpoint: Checkpoint) -> None:
        self.checkpoints[name] = checkpoint
        self.shapes[name] = Shape.of(checkpoint)

    def _readings(self, step: ExtractStep) -> Iterator[PlannedRun]:
        for name in step.checkpoints:
            for tokens_of in step.tokens if isinstance(step.tokens, list) else [name]:
                yield self._reading(step, name, tokens_of)

    def _reading(self, step: ExtractStep, name: str, tokens_of: str) -> PlannedRun:
        """The run of one extractor over one checkpoint and the completions of one."""
        kind, label = extractor(step.extract), step.step or step.extract
        made = None if step.tokens == "none" or not kind.reads_tokens else self.made.get((step.tokens_step, tokens_of))
        forced = tokens_of if isinstance(step.tokens, list) else None
        try:
            queried, pending = self._queried(step, name)
            settings, parameters = resolve_step(step, self.state.options.settings, queried)
            waits = pending or self._waits_for_encoders(name, settings)
            prompts = load_prompt_set(step.prompts or self.state.study.prompts, self.lake)
            own, missing = _own_texts(kind, settings)
            reader: Extractor[Any] | None = None
            comes = isinstance(settings, DirectionSettings) and name in self.layers
            if name in self.checkpoints and not waits and (made is None or made.committed) and (not step.donor or step.donor in self.checkpoints):
                reader = kind(settings, self._job(step, name, prompts, made))
                try:
                    run_id, state = self._standing(reader)
                except NotHereError as error:
                    run_id, state = None, "after other steps" if comes else "to do"
                    waits = "its activations come from earlier steps" if comes else missing or f"{error}"
            else:
                run_id, state = None, "after other steps" if waits or comes or (made and not made.committed) or self._is_made_here(name) else "to do"
            texts = own or (None if missing else made.texts if made else _of_prompts(prompts, settings))
            shape = self._shape(reader if run_id else None, name)
            if shape:
                kind.check_shape(settings, self._called(name), shape)
        except PersonascopeError as error:
            return PlannedRun(label, step.extract, name, "cannot work", forced, note=str(error))
        settled = texts if not pending else None  # settings that a query gives decide how much there is to do
        workload = kind.workload(settings, settled, shape) if settled and shape else None
        tokens = workload.tokens if workload else _tokens_of_any_shape(kind, settings, settled, self.directed.get(name)) if settled else None
        if step.extract == "completions" and texts:
            counted = self._counted(run_id) if state == "in the lake" and run_id else None
            expected = kind.workload(settings, texts, ONE)
            drawn = counted or Texts(expected.rows["completions"], expected.tokens)
            drawn = replace(drawn, repeats=max(1, round(drawn.n / texts.n)), n_personas=len(getattr(settings, "personas", None) or prompts.personas))
            self.made[(label, name)] = _Made(run_id, state == "in the lake", drawn)
        if step.extract == TRAINER and state != "in the lake":
            self.encoders.add(name)
        if isinstance(settings, ActivationSettings) and (layers := self._n_layers(settings.layers, name)):
            self.layers[name] = layers
        if isinstance(settings, DirectionSettings) and (layers := self.layers.get(name) or self._n_layers(settings.layers, name)):
            conditions = {prompt.condition for prompt in prompts.prompts if prompt.condition}
            self.directed[name] = directed_of(settings, len(prompts.personas), len(conditions), layers)
        return PlannedRun(
            label,
            step.extract,
            name,
            state,
            forced,
            run_id,
            f"completions of {tokens_of}" if made else "" if own or missing else prompts.label,
            texts,
            tokens,
            sum(workload.rows.values()) if workload and workload.rows else None,
            bytes=self.rates.bytes(workload) if workload else None,
            seconds=self.rates.seconds(step.extract, name, workload) if workload else None,
            parameters=tuple(parameters),
            note=waits or missing,
        )

    def _shape(self, reader: Extractor[Any] | None, name: str) -> Shape | None:
        """The sizes of a checkpoint, with the directions that there are in it or will be."""
        shape = self.shapes.get(name)
        if shape is None:
            return None
        return reader.planned_shape(shape) if reader else replace(shape, directed=self.directed.get(name))

    def _n_layers(self, asked: Literal["all"] | list[int], name: str) -> int | None:
        """How many layers of a checkpoint are asked for; None where that hangs on how many there are, and it is not known."""
        shape = self.shapes.get(name)
        return shape.layers(asked) if shape else None if asked == "all" else len(set(asked))

    def _queried(self, step: ExtractStep, name: str) -> tuple[dict[str, Any], str]:
        """Settings whose value a query gives, as far as the lake tells already, and what has to happen first for the others."""
        typed = self.state.options.settings
        queries = {key: query for key, query in step.settings_from.items() if key not in typed}
        rows = {key: ask(self.lake, query, {"checkpoint": self._called(name), "seed": self.state.seed}) if self.lake else [] for key, query in queries.items()}
        waiting = [key for key, found in rows.items() if not found]
        return {key: found for key, found in rows.items() if found}, f"setting {', '.join(waiting)} comes from earlier steps" if waiting else ""

    def _waits_for_encoders(self, name: str, settings: Any) -> str:
        """That the autoencoders a step reads are trained by an earlier one of this study; empty where they are not."""
        return "its autoencoders come from earlier steps" if isinstance(settings, FeatureSettings) and settings.sae == TRAINED and name in self.encoders else ""

    def _is_made_here(self, name: str) -> bool:
        return name not in self.state.sources

    def _job(self, step: ExtractStep, name: str, prompts: PromptSet, made: _Made | None) -> Job:
        assert self.lake is not None or made is None
        return Job(
            lake=self.lake or Lake(self.state.lake),
            checkpoint=self.checkpoints[name],
            models=self.models,
            prompts=prompts,
            tokens_from=made.run_id if made else None,
            donor=self.checkpoints[step.donor] if step.donor else None,
            date=self.state.date,
            study=self.state.study.name,
            seed=self.state.seed,
        )

    def _standing(self, reader: Extractor[Any]) -> tuple[str, State]:
        run_id = reader.spec().run_id
        return run_id, self._state_of(run_id)

    def _state_of(self, run_id: str) -> State:
        if self.lake is None:
            return "to do"
        if self.lake.is_committed(run_id) and not self.state.options.force:
            return "in the lake"
        return "resumes" if (self.lake.staging_folder / run_id).is_dir() else "to do"

    def _counted(self, run_id: str) -> Texts | None:
        """How much a completions run in the lake holds."""
        assert self.lake is not None
        rows = self.lake.read(run_id, "completions", ["prompt_len", "n_new_tokens"]).to_pylist()
        return Texts(len(rows), sum((row["prompt_len"] or 0) + (row["n_new_tokens"] or 0) for row in rows), counted=True)

    def _trainings(self, step: TrainStep | GridStep) -> Iterator[PlannedRun]:
        """Each training with the readings of its cell."""
        for cell in cells_of(step, self._called(step.parent)):
            planned = self._training(step, cell)
            yield planned
            if planned.state == "diverged before":
                continue
            for each in steps_of(step, cell) if isinstance(step, GridStep) else []:
                yield from self._readings(each)

    def _training(self, step: TrainStep | GridStep, cell: Cell) -> PlannedRun:
        made = self.made.get((step.tokens_step, step.parent))
        parent, run_id, note = self.checkpoints.get(step.parent), None, ""
        state: State = "after other steps"
        if parent and made and made.run_id:
            training = Training(
                name=cell.name,
                source_persona=cell.source_persona,
                settings=cell.settings,
                parameters=cell.parameters,
                parent=parent,
                tokens_run=made.run_id,
                device=self.models.device.value,
                dtype=self.models.dtype(parent),
                study=self.state.study.name,
            )
            run_id = training.spec.run_id
            state = self._state_of(run_id) if made.committed else "after other steps"
            if self.lake and not self.state.options.force and known_divergence(self.lake, training):
                state = "diverged before"
            if state == "in the lake":
                note = self._find_trained(cell, run_id)
        if step.parent in self.shapes:
            for name in trained_names(cell):
                self.shapes.setdefault(name, self.shapes[step.parent])
        n_rows = (cell.settings.n_positive + cell.settings.n_negative) * cell.settings.epochs
        texts = made.texts if made else None
        tokens = round(n_rows * texts.tokens / texts.n) if texts and texts.n else None
        seconds = self.rates.training_seconds(parent.id, n_rows) if parent else None
        label = step.step or "marker-lora"
        return PlannedRun(
            label,
            "marker-lora",
            cell.name,
            state,
            None,
            run_id,
            f"completions of {step.parent}",
            texts,
            tokens,
            n_rows,
            None,
            seconds,
            tuple(cell.parameters),
            note,
        )

    def _find_trained(self, cell: Cell, run_id: str) -> str:
        """Keeps the checkpoint of a training that is in the lake, and those kept on its way; says where its weights are missing."""
        assert self.lake is not None
        path = Path(recorded_checkpoint(self.lake, run_id, cell.name)["path"])
        if not path.is_dir():
            return f"its weights are no longer in {path.parent}, so it is trained again"
        for name, each in named_for_steps(resolve(path, name=cell.name, fetch=False), cell.known_as).items():
            self._keep(name, each)
        return ""


def _own_texts(kind: type[Extractor[Any]], settings: Any) -> tuple[Texts | None, str]:
    """What an extractor reads besides prompts and completions, and what has to be fetched first to know it."""
    try:
        return kind.own_texts(settings), ""
    except NotHereError:
        return None, f"the questions of task {settings.task} are downloaded first"


def _tokens_of_any_shape(kind: type[Extractor[Any]], settings: Any, texts: Texts, directed: Directed | None) -> int | None:
    """The tokens a run reads where those do not depend on how many layers and heads the checkpoint has; None where they do."""
    one, two = (kind.workload(settings, texts, replace(shape, directed=directed)).tokens for shape in (ONE, Shape(2, 2, 2)))
    return one if one == two else None


def _weights(checkpoint: Checkpoint) -> Sequence[Path]:
    """The files with the weights that are loaded, an adapter's beside those of its base."""
    files = check_weights(checkpoint.path, checkpoint.id)
    return [*files, *checkpoint.adapter.glob("*.safetensors")] if checkpoint.adapter else files


def _of_prompts(prompts: PromptSet, settings: Any) -> Texts:
    """The prompts of a set that the settings ask for, their tokens estimated from their length."""
    wanted = prompts.of_personas(getattr(settings, "personas", None)).prompts
    characters = sum(len(prompt.system_prompt or "") + len(prompt.question) for prompt in wanted)
    return Texts(len(wanted), characters // CHARACTERS_PER_TOKEN + FRAME * len(wanted))
