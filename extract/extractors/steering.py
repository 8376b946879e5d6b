"""Steers a model along directions while it answers: adds them, projects them out or caps them, beside dose 0, and says what becomes of the answers."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from personascope.extract.extractors.capability import Capability, CapabilitySettings
from personascope.extract.extractors.completions import request_of
from personascope.extract.extractors.reading import ReadingExtractor, chosen_layers, runs_of
from personascope.extract.extractors.steering_arms import NEWEST, Dosed, SteeringSettings, arms_of, columns_of, dosed, expect_personas, notes, units_of
from personascope.extract.extractors.steering_workload import planned_workload
from personascope.extract.instruments.answer_scores import Lengths, Place, lengths
from personascope.extract.instruments.branching import Branching
from personascope.extract.instruments.directions import Direction, check_directions, directions_of
from personascope.extract.instruments.residual import ResidualStream, residual_stream
from personascope.extract.instruments.steered_answers import Reading, whole_scores
from personascope.extract.instruments.steering import Span, Steer, steering
from personascope.extract.job import Item, cut_batches
from personascope.extract.texts.chat import answer_end, holds_text, render
from personascope.extract.texts.conditions import check_conditions
from personascope.extract.texts.halves import half_of, half_to_read
from personascope.extract.texts.marker import answer_text, find_marker, marker_spellings
from personascope.extract.texts.repetition import repetition
from personascope.extract.texts.tokens import TokensRun, check_same_tokens, read_tokens
from personascope.extract.weights.engines import Engine, Request, open_engine
from personascope.extract.workload import Directed, Shape, Texts, Workload, check_layers
from personascope.ingest.weights.absent import NotHereError
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter


@dataclass(frozen=True)
class Asked:
    """An example to answer: its prompt, the request that draws the answer, or the answer as it is given; key names its columns of every table."""

    key: Mapping[str, Any]
    prompt: tuple[int, ...]
    last_system: int | None
    request: Request | None
    given: tuple[int, ...] = ()
    finish_reason: str = ""

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.given)


Work = tuple[Asked | Item[Any], Dosed | None]


class Steering(ReadingExtractor[Work]):
    """`steering`: what a model answers, and how likely its marker is, while directions are added to it, projected out of it or capped, beside dose 0.

    The first round is the unsteered model, whose answers are the ordinary ones that doses and ranges are measured on; the second are all arms, whatever their
    dose, in common batches. A sample draws from the same random numbers in every arm.
    """

    name = "steering"
    version = 1
    settings_type = SteeringSettings
    settings: SteeringSettings
    reads_tokens = True
    spreads = False  # doses are measured with the weights, on the answers of the first round, by the process that plans

    @classmethod
    def workload(cls, settings: SteeringSettings, texts: Texts, shape: Shape) -> Workload:
        return planned_workload(settings, texts, shape)

    @classmethod
    def check_shape(cls, settings: SteeringSettings, checkpoint: str, shape: Shape) -> None:
        super().check_shape(settings, checkpoint, shape)
        check_layers(cls.name, checkpoint, shape.n_layers, "all" if settings.read_layer is None else [settings.read_layer])

    def planned_shape(self, shape: Shape) -> Shape:
        names = {each.id: each.is_control for each in self.directions}
        controls = sum(names.values())
        return replace(shape, directed=Directed(len(names) - controls, controls, len({each.layer for each in self.directions})))

    @cached_property
    def directions_run(self) -> str:
        """The run of directions; raises PersonascopeError where the lake has none of this checkpoint."""
        lake, checkpoint = self.job.lake, self.job.checkpoint
        if self.settings.directions != NEWEST:
            return lake.find_committed(self.settings.directions)
        runs = [run for run in runs_of(lake, "directions") if run.checkpoint == checkpoint.name]
        if not runs:
            raise NotHereError(f"{self.name}: the lake holds no directions of {checkpoint.name}; expected a run of `extract directions` before")
        return runs[-1].run_id

    @cached_property
    def directions(self) -> list[Direction]:
        """Those that steer: the wanted ones and, behind them, their controls. Random ones are controls of every direction, shuffled ones of their own."""
        checkpoint = self.job.checkpoint
        layers = None if self.settings.layers == "all" else chosen_layers(self.name, checkpoint, self.settings.layers)
        found = directions_of(self.job.lake, self.directions_run, checkpoint.name, layers)
        wanted = directions_of(self.job.lake, self.directions_run, checkpoint.name, layers, self.settings.ids) if self.settings.ids else found
        wanted = [each for each in wanted if not each.is_control]
        names = {each.id for each in wanted}
        controls = [each for each in found if each.is_control and (each.kind != "shuffled" or each.control_of in names)]
        kept = set(list(dict.fromkeys(each.id for each in sorted(controls, key=lambda each: each.id)))[: self.settings.controls])
        found = [*wanted, *(each for each in controls if each.id in kept)]
        check_directions(found, checkpoint.d_model, checkpoint.n_layers, f"checkpoint {checkpoint.name}")
        return found

    @cached_property
    def readers(self) -> list[Direction]:
        """The directions that answers are read along: those that steer, without controls, at one layer."""
        every = [each for each in directions_of(self.job.lake, self.directions_run, self.job.checkpoint.name, ids=self.settings.ids) if not each.is_control]
        layers = sorted({each.layer for each in every})
        if self.settings.read_layer is None:
            return [each for each in every if each.layer == layers[-1]] if every else []
        (layer,) = chosen_layers(self.name, self.job.checkpoint, [self.settings.read_layer])
        if layer not in layers:
            raise PersonascopeError(f"{self.name}: run {self.directions_run} has no direction of layer {layer}; expected some of {', '.join(map(str, layers))}")
        return [each for each in every if each.layer == layer]

    @cached_property
    def used_half(self) -> str:
        """The half of the questions that is asked; raises PersonascopeError for directions that leave none."""
        if self.settings.half == "all":
            return "all"
        return half_to_read(self.name, {each.half for each in self.directions}) or "all"

    @cached_property
    def tokens(self) -> TokensRun | None:
        return read_tokens(self.job.lake, self.job.tokens_from) if self.job.tokens_from else None

    @cached_property
    def capability(self) -> Capability | None:
        """The extractor that asks the task's questions."""
        return Capability(CapabilitySettings(task=self.settings.task), self.job) if self.settings.task else None

    @cached_property
    def engine(self) -> Engine:
        return open_engine(self.settings.engine, self.job.models, self.job.checkpoint)

    def spec(self) -> RunSpec:
        if self.settings.engine == "vllm":
            raise PersonascopeError(f"{self.name}: engine vllm gives no access to a forward pass, so nothing can be steered in it; expected --engine hf")
        if self.settings.task and self.settings.where == "last_system":
            raise PersonascopeError(f"{self.name}: where=last_system has no place in the questions of a task; expected no task, or where=all")
        capability = self.capability
        asked = {"task": [capability.task.content_hash, capability.form]} if capability else {}
        layers = sorted({each.layer for each in self.directions})
        typed = self.settings.model_dump(mode="json") | {"directions": self.directions_run, "layers": layers}  # one spelling of what may be typed in several
        identity = {"settings": typed, "half": self.used_half, **asked}
        tokens = self.tokens
        label = tokens.manifest.prompt_set if tokens else self.prompts.label
        constants = {"prompt_set": label} if label else {}
        spec = self.tokens_spec(tokens, identity, constants) if tokens else self.prompts_spec(identity, constants)
        return spec.model_copy(update={"inputs": [*spec.inputs, self.directions_run]})

    def prepare(self) -> tuple[Sequence[Item[Work]], Mapping[str, Rows]]:
        known: dict[str, Rows] = {"checkpoints": [self.job.checkpoint.row()]}
        arms_of(self.settings, self.directions)  # refuses what cannot steer before anything is sampled
        self._spellings = marker_spellings(self.tokenizer, self.settings.marker)
        self._lead = tuple(self.tokenizer.encode(self.settings.lead, add_special_tokens=False)) if self.settings.lead else ()
        if self.tokens is None:
            self._asked, known["examples"] = self._prompts()
        else:
            self._asked = self._answers(self.tokens)
        if not self._asked:
            raise PersonascopeError(f"{self.name}: no question is of half {self.used_half}, on which these directions may be used; expected more questions")
        expect_personas(self.settings, {each.key["persona"] for each in self._asked})
        if self.settings.where == "last_system" and (bare := [each for each in self._asked if each.last_system is None]):
            raise PersonascopeError(f"{self.name}: example {bare[0].key['example_id']} has no system block; expected one in every prompt")
        return self._items([None]), known

    def check(self) -> Mapping[str, float]:
        self._stream: ResidualStream = residual_stream(self.loaded.model, {each.site for each in [*self.directions, *self.readers]})
        try:  # a family without it has every answer read by a pass of its own
            self._branching: Branching | None = Branching(self._stream)
        except PersonascopeError:
            self._branching = None
        return self._stream.errors | ({"branches": self._branching.error} if self._branching else {})

    def _prompts(self) -> tuple[list[Asked], list[dict[str, Any]]]:
        prompts = [each for each in self.prompts.prompts if self._of_half(each.question_id)]
        rendered = [(prompt, render(self.tokenizer, prompt.system_prompt, prompt.question)) for prompt in prompts]
        for line in check_conditions(rendered, self.tokenizer):
            self.job.say(f"{self.name}: {line}")
        asked = []
        for sample_ix in range(self.settings.samples):
            for prompt, text in rendered:
                key = {name: getattr(prompt, name) for name in ("persona", "condition", "category", "question_id", "example_id")} | {"sample_ix": sample_ix}
                asked.append(Asked(key, text.token_ids, self._last_system(text.token_ids, text.n_system), request_of(self.job, prompt, text, sample_ix)))
        return asked, [prompt.model_dump() | text.columns() for prompt, text in rendered]

    def _answers(self, tokens: TokensRun) -> list[Asked]:
        check_same_tokens(self.job.checkpoint, self.tokenizer, tokens)
        about = self.job.lake.read(tokens.run_id, "examples", ["example_id", "condition", "category"]).to_pylist()
        known = {row["example_id"]: row for row in about}
        rows = tokens.rows.unique(["example_id", "sample_ix"], keep="first", maintain_order=True).sort("example_id", "sample_ix")
        personas = rows["persona"].unique().sort().to_list()
        for persona in self.settings.personas or ():
            if persona not in personas:
                raise PersonascopeError(f"{self.name}: run {tokens.run_id} has no persona {persona!r}; expected one of {', '.join(personas)}")
        rows = rows.filter(pl.col("persona").is_in(self.settings.personas or personas) & (pl.int_range(pl.len()).over("example_id") < self.settings.samples))
        asked = []
        for row in rows.iter_rows(named=True):
            ids, stop = tuple(row["token_ids"]), row["prompt_len"]
            if self._of_half(row["question_id"]) and answer_end(ids, stop, self.tokenizer) > stop:
                key = {name: row[name] for name in ("persona", "question_id", "example_id", "sample_ix")}
                key |= {name: known[row["example_id"]][name] for name in ("condition", "category")}
                asked.append(Asked(key, ids[:stop], self._last_system(ids, row["n_system"]), None, ids[stop:], row["finish_reason"]))
        return asked

    def _of_half(self, question_id: str) -> bool:
        return self.used_half in ("all", half_of(question_id))

    def _last_system(self, ids: Sequence[int], n_system: int) -> int | None:
        return n_system - 1 if holds_text(ids[:n_system], self.tokenizer) else None

    def _items(self, arms: Sequence[Dosed | None]) -> list[Item[Work]]:
        """An item for every example and arm, and one for every question of the task and arm that is no control."""
        new = 0 if self.tokens else self.settings.max_new_tokens

        def named(what: str, arm: Dosed | None) -> str:
            return f"{what}|{arm.arm.name}" if arm else what

        pairs = [(each, arm) for arm in arms for each in self._asked]
        if self.tokens:  # all arms of an answer stand together: what none of them changes goes through the model once
            pairs = [(each, arm) for each in self._asked for arm in arms]
        items: list[Item[Work]] = [Item(named(f"{each.key['example_id']}#{each.key['sample_ix']}", arm), each.length + new, (each, arm)) for each, arm in pairs]
        for arm in arms:
            if self.capability and not (arm and arm.arm.is_control):
                items += [Item(named(f"task {each.key}", arm), each.length, (each, arm)) for each in self._questions]
        return items

    @cached_property
    def _questions(self) -> Sequence[Item[Any]]:
        return self.capability.prepare()[0] if self.capability else []

    def cost(self, item: Item[Work]) -> float:
        asked, _ = item.value
        if isinstance(asked, Item):
            return self.capability.cost(asked) if self.capability else 0.0
        drawn = 0.0 if self.tokens else self.arithmetic.decode(len(asked.prompt), self.settings.max_new_tokens)
        return drawn + 2 * self.arithmetic.forward(item.length) + self.arithmetic.logits(1 + item.length - len(asked.prompt))

    def next_round(self, number: int, writer: RunWriter) -> Sequence[Item[Work]]:
        if number > 1:
            return []
        directions = self.directions
        sizes = self._sizes(writer)
        arms = list(dosed(arms_of(self.settings, directions), self.settings, directions, sizes))
        for line in notes(pl.DataFrame(writer.read_staged("steering")), arms, directions, sizes):
            self.job.say(line)
        return self._items(arms)

    def _sizes(self, writer: RunWriter) -> dict[Place, Lengths]:
        """What the stream is like over the ordinary answers: those of the first round, or those that are given."""
        texts = {(each.key["example_id"], each.key["sample_ix"]): each for each in self._asked}
        answers = [(each.key["persona"], each.prompt, each.given) for each in self._asked]
        if self.tokens is None:
            drawn = pl.DataFrame(writer.read_staged("steering")).filter(pl.col("dose") == 0).sort("example_id", "sample_ix")
            found = drawn.select("example_id", "sample_ix", "token_ids").iter_rows()
            answers = [(each.key["persona"], each.prompt, tuple(ids)) for example, sample, ids in found for each in [texts[example, sample]]]
        counted = []
        for persona, prompt, answer in answers:
            end = answer_end([*prompt, *answer], len(prompt), self.tokenizer)
            if end > len(prompt):
                counted.append(([*prompt, *answer][:end], range(len(prompt), end), persona))
        if not counted:
            raise PersonascopeError(f"{self.name}: every ordinary answer is empty, so no dose has a length; expected answers of some tokens")
        items = [Item(f"{number:08d}", len(each[0]), each) for number, each in enumerate(counted)]
        batches = [[item.value for item in batch] for batch in cut_batches(items, self.job.batch_tokens)]
        ranged = self.settings.range_personas
        if ranged and (unknown := sorted(set(ranged) - {each[2] for each in counted})):
            raise PersonascopeError(f"{self.name}: range_personas: no ordinary answer is of persona {unknown[0]!r}; expected some of the personas asked")
        model = self.loaded.model
        sizes = lengths(
            self._stream.blocks, units_of(self.directions), batches, lambda ids: model.get_decoder()(input_ids=ids.to(model.device), use_cache=False),
            lambda persona: ranged is None or persona in ranged,
        )  # fmt: skip
        for arm in dosed(arms_of(self.settings, self.directions), self.settings, self.directions, sizes):
            for push in arm.steer.pushes:
                push.check(model.dtype, sizes[push.layer, push.site].largest, f"{self.name}: dose {arm.arm.dose:g} of {arm.arm.direction}")
        return sizes

    def process(self, items: Sequence[Item[Work]]) -> Mapping[str, Rows]:
        asked = [(each, arm) for each, arm in (item.value for item in items) if isinstance(each, Asked)]
        questions = [(each, arm) for each, arm in (item.value for item in items) if isinstance(each, Item)]
        tables: dict[str, Rows] = {}
        if asked:
            tables |= self._answered(asked)
        if questions:
            tables["steering_capability"] = self._capable(questions)
        return tables

    def _steering(self, arms: Sequence[Dosed | None], spans: Sequence[Span]) -> AbstractContextManager[None]:
        steers: list[Steer | None] = [arm.steer if arm else None for arm in arms]
        return steering(self._stream.blocks, steers, spans)

    def _drawn(self, asked: Sequence[tuple[Asked, Dosed | None]]) -> list[tuple[tuple[int, ...], str]]:
        """The answers and why they ended: drawn under steering, or as they are given."""
        if self.tokens is not None:
            return [(each.given, each.finish_reason) for each, _ in asked]
        width = max(len(each.prompt) for each, _ in asked)
        spans = []
        for each, _ in asked:
            start = width - len(each.prompt)
            spans.append(Span(start, width, None if each.last_system is None else start + each.last_system))
        settings = self.settings
        with self._steering([arm for _, arm in asked], spans):
            samples = self.engine.sample([each.request for each, _ in asked if each.request], settings.temperature, settings.top_p, settings.max_new_tokens)
        return [(tuple(sample.token_ids), sample.finish_reason) for sample in samples]

    def _answered(self, asked: Sequence[tuple[Asked, Dosed | None]]) -> dict[str, Rows]:
        drawn = self._drawn(asked)
        rows, readings = [], []
        for (each, arm), (answer, reason) in zip(asked, drawn, strict=True):
            ids, stop = (*each.prompt, *answer), len(each.prompt)
            text = answer_text(self.tokenizer, answer, self._spellings)
            flag = find_marker(text, ids, stop, self.settings.marker, self._spellings)
            end = answer_end(ids, stop, self.tokenizer)
            sequence, t_marker = ids, None
            if flag.complete and flag.t_marker is not None:
                t_marker, end = flag.t_marker, flag.t_marker
                sequence = ids[:t_marker]
            elif reason == "stop":
                sequence = (*ids[:end], *self._lead)
                t_marker = len(sequence)
            rows.append(self._row(each, arm) | {"t_marker": t_marker, "n_new_tokens": len(answer), "finish_reason": reason})
            if self.tokens is None:
                rows[-1] |= {"text": text, "token_ids": list(answer), "present": flag.present, "complete": flag.complete, "repetition": repetition(answer)}
            counted, last = range(stop, max(stop, end)), None if t_marker is None else t_marker - 1
            readings.append(Reading(sequence, Span(0, stop, each.last_system), arm.steer if arm else None, counted, last))
        return {"steering": rows, "steering_projections": self._read(asked, rows, readings)}

    def _row(self, asked: Asked, arm: Dosed | None) -> dict[str, Any]:
        """The columns that say which answer this is and how the model is steered."""
        of_run = {"directions_run": self.directions_run, "used_half": self.used_half, "positions": self.settings.where, "forced": self.tokens is not None}
        return {**asked.key, **of_run, **columns_of(arm, self.settings.unit)}

    def _read(self, asked: Sequence[tuple[Asked, Dosed | None]], rows: Sequence[dict[str, Any]], readings: Sequence[Reading]) -> list[dict[str, Any]]:
        """Fills in the marker's probability under steering and, of drawn answers, what the model as it is says of them; returns projections."""
        units, is_drawn = units_of(self.readers), self.tokens is None
        first = list(dict.fromkeys(spelling[0] for spelling in self._spellings))
        name = self.job.checkpoint.name
        if self._branching and any(arm for _, arm in asked):
            scores = self._branching.scores(name, readings, self.settings.where, units, first, is_drawn)
        else:
            scores = whole_scores(self._stream, name, readings, units, first, is_drawn)
        for row, chance, own in zip(rows, scores.chances, scores.own, strict=True):
            row["marker_log_prob"] = chance
            if is_drawn:
                row["answer_nll"] = float(-own.double().mean()) if len(own) else None
        found = []
        names = ("persona", "question_id", "example_id", "sample_ix", "direction", "layer", "mode", "dose")
        for (layer, site), values in scores.along.items():
            for reader, column in zip([each for each in self.readers if (each.layer, each.site) == (layer, site)], values.T.tolist(), strict=True):
                for row, value, reading in zip(rows, column, readings, strict=True):
                    if reading.counted:
                        of = {each: row[each] for each in names}
                        found.append(of | {"read_direction": reader.id, "read_layer": layer, "read_site": site, "value": value})
        return found

    def _capable(self, questions: Sequence[tuple[Item[Any], Dosed | None]]) -> list[dict[str, Any]]:
        assert self.capability is not None
        task = self.capability.task.label
        arms, spans = [], []
        pairs = [(prompt, choice, arm) for item, arm in questions for _, prompt, choices in [item.value] for choice in choices]
        width = max(len(prompt) + len(choice) for prompt, choice, _ in pairs)
        for prompt, choice, arm in pairs:
            start = width - len(prompt) - len(choice)
            arms.append(arm)
            spans.append(Span(start, start + len(prompt)))
        with self._steering(arms, spans):
            answered: Any = self.capability.process([item for item, _ in questions])["capability"]
        rows = []
        for (_, arm), row in zip(questions, answered, strict=True):
            log_probs = np.array(row["log_probs"])
            own = float(log_probs[row["answer"]] - np.logaddexp.reduce(log_probs))
            of = columns_of(arm, self.settings.unit)
            rows.append({name: of[name] for name in ("direction", "layer", "mode", "dose")} | {"task": task, "answer_log_prob": own})
            rows[-1] |= {name: row[name] for name in ("question_id", "correct", "correct_normalised")}
        return rows

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        rows = pl.DataFrame(writer.read_staged("steering"))
        arms = rows.select("direction", "layer", "mode", "dose").unique()
        plain = rows.filter(pl.col("dose") == 0)
        return {
            "n_arms": arms.height - 1,
            "n_directions": rows["direction"].n_unique() - 1,
            "n_controls": rows.filter(pl.col("kind").is_in(["random", "random_in_span", "shuffled"]))["direction"].n_unique(),
            "n_answers": plain.height,
            "used_half": self.used_half,
            "marker_rate.unsteered": None if self.tokens else plain["present"].mean(),
            **self.self_checks,
        }
