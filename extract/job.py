"""What an extractor is asked to do (`Job`), what it declares (`Extractor`), and the one loop that runs every extractor, round by round."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from personascope.extract.arithmetic import Arithmetic
from personascope.extract.hands import Hands, OwnHands, Part, Place, Work, Workers, alone
from personascope.extract.texts.templates import DATE, writes_date
from personascope.extract.workload import Shape, Texts, Workload, check_layers
from personascope.ingest.progress import progress
from personascope.ingest.prompts import PromptSet
from personascope.ingest.weights.checkpoints import Checkpoint
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.settings import Parameter
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.lake import Lake
from personascope.warehouse.store.manifest import Kind, Manifest, RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from personascope.extract.weights.loading import LoadedModel
    from personascope.extract.weights.on_device import Models

T = TypeVar("T")


class Settings(BaseModel):
    """Settings of an extractor: they decide the result and belong to the run's identity.

    One that decides only whether work goes on after a result is declared with `exclude=True`: it is recorded, but makes no other run.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass
class Job:
    """One request: a checkpoint, what it reads (prompts or the tokens of a completions run), settings with their origins, and where rows go.

    `donor` is a second checkpoint, for the extractors that compare or exchange activations of two. `workers` compute the parts of the run; where there are
    none, this process does. `at_once`: how many runs of one engine are driven together, this one among them.
    """

    lake: Lake
    checkpoint: Checkpoint
    models: Models
    prompts: PromptSet | None = None
    tokens_from: str | None = None
    donor: Checkpoint | None = None
    date: Parameter = DATE  # what templates are told of the present day
    study: str | None = None
    seed: int = 42
    parameters: list[Parameter] = field(default_factory=list)
    force: bool = False
    batch_tokens: int = 8192
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr)
    workers: Workers | None = None
    at_once: int = 1


@dataclass
class Item(Generic[T]):
    """One unit of work: `key` names it for ever, `length` is its number of tokens, `weight` counts it in the progress bar, in examples."""

    key: str
    length: int
    value: T
    weight: float = 1


class Extractor(ABC, Generic[T]):
    """Turns (checkpoint, prompts) into rows. A new extractor is one module in `extract/extractors/` with one subclass.

    `prepare` plans in the process of the command and touches no weights; `check` and `process` are called in every process that computes parts. `name` and
    `version` are part of every run_id: raise the version when rows change for the same input.
    """

    name: ClassVar[str]
    version: ClassVar[int]
    settings_type: ClassVar[type[Settings]]
    kind: ClassVar[Kind] = "extract"
    reads_tokens: ClassVar[bool] = False  # whether a completions run may be read instead of prompts
    reads_both: ClassVar[bool] = False  # whether it may be read beside them
    spreads: ClassVar[bool] = True  # whether workers may compute its parts; else the process of the command does
    needs_weights: ClassVar[bool] = False  # whether it multiplies with weights of single layers itself: they must be whole, and in one place

    def __init__(self, settings: Settings, job: Job) -> None:
        self.settings = settings
        self.job = job
        self.checked: Mapping[str, float] = {}  # figures of `check`, for the summary

    @classmethod
    def workload(cls, settings: Any, texts: Texts, shape: Shape) -> Workload:
        """What a run with these settings would read and write at most, told before anything is loaded."""
        return Workload(texts.tokens)

    @classmethod
    def own_texts(cls, settings: Any) -> Texts | None:
        """What a run with these settings reads in place of prompts and completions, for plans; None where it reads those."""
        return None

    @classmethod
    def check_shape(cls, settings: Any, checkpoint: str, shape: Shape) -> None:
        """Raises PersonascopeError where the settings name layers or heads that a checkpoint of these sizes does not have, which may be yet to be trained."""
        check_layers(cls.name, checkpoint, shape.n_layers, getattr(settings, "layers", "all"))

    def planned_shape(self, shape: Shape) -> Shape:
        """The sizes of the checkpoint with what else of the lake decides how many rows this run has, for plans."""
        return shape

    @property
    def loaded(self) -> LoadedModel:
        """The checkpoint with its weights, loaded at first use."""
        return self.job.models.load(self.job.checkpoint)

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer, whose chat template is told the job's date."""
        tokenizer: Any = self.job.models.tokenizer(self.job.checkpoint)
        tokenizer.rendering_date = self.job.date.value
        return tokenizer

    @property
    def gpus(self) -> int:
        """How many GPUs a process that computes parts of this run takes, where there are any."""
        return 1

    @property
    def _renders(self) -> bool:
        """Whether this run puts prompts through the chat template, as far as its settings tell."""
        return getattr(self.settings, "form", None) != "raw" and not (self.reads_tokens and self.job.tokens_from)

    @property
    def place(self) -> Place:
        """What computes the parts, as far as it decides the run: its device, and the dtype that suits it."""
        return self.job.workers if self.spreads and self.job.workers else self.job.models

    @property
    def self_checks(self) -> dict[str, float]:
        """The figures of `check` as the summary names them."""
        return {f"self_check.{name}": value for name, value in self.checked.items()}

    @property
    def arithmetic(self) -> Arithmetic:
        return Arithmetic.of(self.job.checkpoint)

    @property
    def part_cost(self) -> float:
        """What a part of the run, the unit that a kill loses, costs at most (operations), unless a single item costs more."""
        return self.arithmetic.part

    def cost(self, item: Item[T]) -> float:
        """Operations that an item takes, about: told from tokens, settings and the sizes of the checkpoint alone, so that parts are the same everywhere."""
        return self.arithmetic.forward(item.length)

    @abstractmethod
    def spec(self) -> RunSpec:
        """Identity and constants of the run; must not load the weights."""

    @abstractmethod
    def prepare(self) -> tuple[Sequence[Item[T]], Mapping[str, Rows]]:
        """The items to process first and the rows that are known before any of them; raises PersonascopeError on bad input.

        No weights: what is kept on `self` is sent to workers, and items are, so both must pickle.
        """

    def check(self) -> Mapping[str, float]:
        """Once in every process that computes parts, with weights and behind `prepare`: finds what `process` reads; returns the figures of its self-checks.

        Raises PersonascopeError for a model that cannot be read.
        """
        return {}

    def next_round(self, number: int, writer: RunWriter) -> Sequence[Item[T]]:
        """The items of round `number` (1, 2, ...), asked for when every item before is staged in `writer`; none: the work is done.

        A resumed run asks again, with rows of later rounds staged already: the answer may depend on rows of earlier rounds only.
        """
        return []

    @abstractmethod
    def process(self, items: Sequence[Item[T]]) -> Mapping[str, Rows]:
        """Rows of one batch: decided by its items, `prepare` and `check` alone, in whatever process and order."""

    def rows_of(self, items: Sequence[Item[T]]) -> Mapping[str, Rows]:
        """What `process` gives for a part, without gradients, and in halves where the device runs out of memory."""
        from personascope.extract.weights.halving import in_halves  # torch, which planning does without

        return in_halves(self.process, items, f"the memory of {self.job.models.device.value}", self.name)

    @classmethod
    def rows_together(cls, parts: Sequence[Part]) -> list[Mapping[str, Rows] | Exception]:
        """What `rows_of` gives for parts of several runs of this extractor, or why it gives nothing; each as if it were alone."""
        return [_rows_or_error(part) for part in parts]

    @abstractmethod
    def summary(self, writer: RunWriter) -> dict[str, Any]:
        """The few figures that describe the run, from what was staged."""

    def conclude(self, manifest: Manifest) -> None:
        """Looks at the committed run, also at one that is recognised; raises PersonascopeError where its result forbids what was to follow."""

    def base_spec(self, identity: Mapping[str, Any], **fields: Any) -> RunSpec:
        """A RunSpec with what every extractor shares: checkpoint revision, settings, dtype, attention implementation and seed decide the run, and the date
        where prompts are rendered by a template that writes it. Raises PersonascopeError where the extractor needs weights that are spread or in a few bits."""
        job = self.job
        if self.needs_weights:
            self._expect_weights()
        attention = fields.pop("attention_implementation", job.models.attention)
        device, memory = self.place.device_name()
        dtype = self.place.dtype(job.checkpoint)
        dated = [job.date] if self._renders and writes_date(job.checkpoint.tokenizer_path) else []
        return RunSpec(
            kind=self.kind,
            extractor=self.name,
            version=self.version,
            identity={
                "checkpoint": [job.checkpoint.name, job.checkpoint.identity],
                "settings": self.settings.model_dump(mode="json"),
                "seed": job.seed,
                "dtype": dtype,
                "attention": attention,
                **{each.name: each.value for each in dated},
                **identity,
            },
            study=job.study,
            checkpoint=job.checkpoint.name,
            seed=job.seed,
            dtype=dtype,
            attention_implementation=attention,
            device=device,
            device_memory_gib=memory,
            parameters=[*job.parameters, *dated],
            **fields,
        )

    def _expect_weights(self) -> None:
        start, job = f"extract {self.name}: it multiplies with weights of single layers", self.job
        if job.models.sharding is not None:
            raise PersonascopeError(f"{start}, which may be anywhere in a model spread by --shard-model; expected a device that holds the model")
        for checkpoint in (job.checkpoint, job.donor):
            if checkpoint is not None and checkpoint.bits:
                raise PersonascopeError(f"{start}, which {checkpoint.name} holds in {checkpoint.bits} bits; expected the checkpoint as it is stored")


def cut_batches(items: Sequence[Item[T]], batch_tokens: int, cost: Callable[[Item[T]], float] = lambda item: 0.0, most: float = inf) -> list[list[Item[T]]]:
    """Batches of similar length, longest first (memory trouble shows at once), each at most `batch_tokens` tokens when padded and at most `most` in cost.

    Decided by the items alone; one that is too large by itself is a batch of its own.
    """
    batches: list[list[Item[T]]] = []
    spent = 0.0
    for item in sorted(items, key=lambda item: (-item.length, item.key)):
        spent += (own := cost(item))
        if not batches or (len(batches[-1]) + 1) * batches[-1][0].length > batch_tokens or spent > most:
            batches.append([])
            spent = own
        batches[-1].append(item)
    return batches


def parts_of(extractor: Extractor[T], items: Sequence[Item[T]]) -> list[list[Item[T]]]:
    """The batches of a round, each a part of the run: no more tokens than fit the device at once, and no more work than a kill may lose."""
    return cut_batches(items, extractor.job.batch_tokens, extractor.cost, extractor.part_cost)


def plan_of(extractor: Extractor[Any], items: Sequence[Item[Any]]) -> str:
    """The hash of how the first round is cut into parts; later rounds follow from it."""
    first = [[item.key for item in batch] for batch in parts_of(extractor, items)]
    return stable_hash([extractor.job.batch_tokens, first])


def run(extractor: Extractor[Any]) -> str:
    """Runs an extractor to a committed run and returns its run_id; a committed run is recognised, a killed one resumed.

    The parts are computed by the job's workers, or in this process; this process alone plans rounds, counts time and commits.
    """
    return alone(running(extractor))


def running(extractor: Extractor[Any]) -> Work[str]:
    """`run` as work that asks for the rows of its parts, so that parts of several runs can be computed together."""
    job, spec = extractor.job, extractor.spec()
    if job.lake.is_committed(spec.run_id) and not job.force:
        job.say(f"{spec.run_id}: already in the lake ({extractor.name}, {job.checkpoint.name})")
        extractor.conclude(job.lake.manifest(spec.run_id))
        return spec.run_id
    if date := spec.identity.get(DATE.name):
        job.say(
            f"{extractor.name}: the chat template of {job.checkpoint.name} writes the present day, which is {date} here ({job.date.origin}; --date sets it)"
        )
    items, known = extractor.prepare()
    writer = job.lake.start(spec, plan=plan_of(extractor, items), force=job.force)
    if writer is None:
        return spec.run_id
    with writer.unless_refused(), _hands(extractor, writer, items) as hands:
        extractor.checked = hands.check()
        with writer:
            writer.write_part("known", known)  # also where it is staged: an earlier version of the program may have known less
            number = 0
            while items:
                yield from _work_off(extractor, writer, hands, number, parts_of(extractor, items))
                number += 1
                items = extractor.next_round(number, writer)
            manifest = writer.commit(extractor.summary(writer) | hands.merge_figures())
    job.say(f"{spec.run_id}: {manifest.n_rows:,} rows in {manifest.seconds:.1f} s ({extractor.name}, {job.checkpoint.name})")
    extractor.conclude(manifest)
    return spec.run_id


def _hands(extractor: Extractor[Any], writer: RunWriter, items: Sequence[Item[Any]]) -> Hands:
    """Those of the job's workers, or of this process."""
    workers = extractor.job.workers
    if workers is None or not extractor.spreads:
        return OwnHands(extractor, writer)
    return workers.hands(extractor, writer, sum(name not in writer.done for name in _named(0, parts_of(extractor, items))))


def _named(number: int, batches: Sequence[Sequence[Item[Any]]]) -> dict[str, Sequence[Item[Any]]]:
    """The batches of a round by the names of their parts."""
    return {f"{number:03d}-{place:06d}": batch for place, batch in enumerate(batches)}


def _work_off(extractor: Extractor[Any], writer: RunWriter, hands: Hands, number: int, batches: Sequence[Sequence[Item[Any]]]) -> Work[None]:
    """One round: every batch that is not staged yet, each a part of its own."""
    done = writer.done
    parts = _named(number, batches)
    weights = {name: sum(item.weight for item in batch) for name, batch in parts.items()}
    costs = {name: sum(map(extractor.cost, batch)) for name, batch in parts.items()}
    title = f"{extractor.name} · {extractor.job.checkpoint.name}" + (f" · round {number + 1}" if number else "")
    finished, worked = (sum(of[name] for name in parts if name in done) for of in (weights, costs))
    writer.expect(len(done | parts.keys()))
    waiting = {name: batch for name, batch in parts.items() if name not in done}
    shown = progress(title, sum(weights.values()), finished, (sum(costs.values()), worked), hands.told)
    with shown if extractor.job.at_once == 1 else nullcontext(_unseen) as advance:
        yield from hands.stage(waiting, lambda name: advance(weights[name], costs[name]))


def _unseen(count: float = 1, cost: float | None = None) -> None:
    """No progress of its own: whoever drives several runs together shows theirs."""


def _rows_or_error(part: Part) -> Mapping[str, Rows] | Exception:
    try:
        return part.rows()
    except Exception as error:
        return error
