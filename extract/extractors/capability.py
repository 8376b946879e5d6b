"""Measures what a checkpoint still can do: multiple-choice questions answered by the log-probability of their choices."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from pydantic import Field

from personascope.extract.job import Extractor, Item, Settings
from personascope.extract.texts.chat import render
from personascope.extract.weights.finite import all_finite, refuse_logits
from personascope.extract.workload import Shape, Texts, Workload
from personascope.ingest.tasks import Task, TaskQuestion, load_task
from personascope.ingest.weights.checkpoints import has_chat_template
from personascope.ingest.weights.head import giving_head
from personascope.ingest.weights.vocabulary import check_ids
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.manifest import RunSpec
from personascope.warehouse.store.writer import Rows, RunWriter

ROWS = 256  # positions whose logits are normed at once


class CapabilitySettings(Settings):
    """Which task is asked, and in which form."""

    task: str = Field(description="a shipped task (tiny-world), a .jsonl, .json or .parquet file of the ARC layout, or owner/dataset:config:split@commit")
    form: Literal["auto", "chat", "raw"] = Field(
        default="auto",
        description="chat: through the chat template; raw: as lm-evaluation-harness asks ARC (Question: ... Answer:); auto: chat where there is one",
    )
    system_prompt: str | None = Field(default=None, description="system message of the chat form (default: none, so the template decides)")


Asked = tuple[TaskQuestion, tuple[int, ...], list[list[int]]]


def texts_of(task: Task) -> Texts:
    """How much the questions of a task are to read, each with every one of its choices."""
    questions = task.questions
    return Texts(len(questions), sum(len(each.choices) * len(each.question) + sum(map(len, each.choices)) for each in questions) // 4)


class Capability(Extractor[Asked]):
    """`capability`: one row per question with the summed log-probability of every choice; right by the sum and by the mean per character."""

    name = "capability"
    version = 1
    settings_type = CapabilitySettings
    settings: CapabilitySettings

    @classmethod
    def workload(cls, settings: CapabilitySettings, texts: Texts, shape: Shape) -> Workload:
        return Workload(texts.tokens, {"capability": texts.n})

    @classmethod
    def own_texts(cls, settings: CapabilitySettings) -> Texts:
        return texts_of(load_task(settings.task))

    @cached_property
    def task(self) -> Task:
        return load_task(self.settings.task)

    @property
    def form(self) -> str:
        if self.settings.form != "auto":
            return self.settings.form
        return "chat" if has_chat_template(self.job.checkpoint.tokenizer_path) else "raw"

    def spec(self) -> RunSpec:
        return self.base_spec({"task": self.task.content_hash, "form": self.form}, subject=self.job.checkpoint.name, constants={"task": self.task.label})

    def prepare(self) -> tuple[Sequence[Item[Asked]], Mapping[str, Rows]]:
        items = []
        for question in self.task.questions:
            prompt, choices = self._tokens(question)
            longest = max(len(choice) for choice in choices)
            items.append(Item(question.question_id, (len(prompt) + longest) * len(choices), (question, prompt, choices)))
        return items, {"checkpoints": [self.job.checkpoint.row()]}

    def cost(self, item: Item[Asked]) -> float:
        _, prompt, choices = item.value
        longest = max(map(len, choices))
        return self.arithmetic.forward(len(prompt) + longest, len(choices)) + self.arithmetic.logits(len(choices) * (longest + 1))

    def _tokens(self, question: TaskQuestion) -> tuple[tuple[int, ...], list[list[int]]]:
        """Ids of the prompt and of each choice; they are joined as ids, so that the prompt is the same for all choices."""
        if self.form == "chat":
            prompt, lead = render(self.tokenizer, self.settings.system_prompt, question.question).token_ids, ""
        else:
            prompt, lead = tuple(self.tokenizer.encode(f"Question: {question.question}\nAnswer:")), " "
        choices = [self.tokenizer.encode(lead + choice, add_special_tokens=False) for choice in question.choices]
        if empty := [choice for choice, ids in zip(question.choices, choices, strict=True) if not ids]:
            raise PersonascopeError(f"capability: choice {empty[0]!r} of question {question.question_id} gives no token; expected some text")
        where = f"capability: question {question.question_id} or one of its choices"
        check_ids([*prompt, *(token for choice in choices for token in choice)], self.job.checkpoint.vocab_size, self.tokenizer, where)
        return prompt, choices

    def process(self, items: Sequence[Item[Asked]]) -> Mapping[str, Rows]:
        asked = [(prompt, choice) for _, prompt, choices in (item.value for item in items) for choice in choices]
        sums = iter(self._log_probs(asked))
        rows = []
        for question, _, choices in (item.value for item in items):
            log_probs = [next(sums) for _ in choices]
            lengths = [len(choice) for choice in question.choices]
            best = max(range(len(choices)), key=lambda index: log_probs[index])
            normalised = max(range(len(choices)), key=lambda index: log_probs[index] / lengths[index])
            rows.append(
                {
                    "question_id": question.question_id,
                    "question": question.question,
                    "answer": question.answer,
                    "choice": best,
                    "choice_normalised": normalised,
                    "correct": best == question.answer,
                    "correct_normalised": normalised == question.answer,
                    "log_probs": log_probs,
                    "n_tokens": [len(choice) for choice in choices],
                    "n_characters": lengths,
                }
            )
        return {"capability": rows}

    def _log_probs(self, asked: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        """Summed log-probability (nats, float32 logits) of each continuation; the output embeddings see the states before its tokens alone."""
        model, pad = self.loaded.model, self.tokenizer.pad_token_id
        width = max(len(prompt) + len(choice) for prompt, choice in asked)
        ids = torch.full((len(asked), width), pad)
        mask = torch.zeros((len(asked), width), dtype=torch.long)
        wanted = torch.zeros((len(asked), width), dtype=torch.bool)
        for row, (prompt, choice) in enumerate(asked):
            length = len(prompt) + len(choice)
            ids[row, width - length :] = torch.tensor([*prompt, *choice])
            mask[row, width - length :] = 1
            wanted[row, width - len(choice) :] = True
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        owner = wanted.nonzero()[:, 0]
        ids, mask, positions, wanted = (each.to(model.device) for each in (ids, mask, positions, wanted))
        with giving_head(model, wanted.roll(-1, dims=1)):
            logits = model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits[0]
        blocks = zip(logits.split(ROWS), ids[wanted].split(ROWS), strict=True)
        chosen = torch.cat([(rows.float().gather(1, tokens[:, None])[:, 0] - rows.float().logsumexp(-1)) for rows, tokens in blocks])
        total = torch.zeros(len(asked), dtype=torch.double).index_add(0, owner, chosen.double().cpu())
        if not all_finite(total):
            raise refuse_logits(model, self.job.checkpoint.name)
        sums: list[float] = total.tolist()
        return sums

    def summary(self, writer: RunWriter) -> dict[str, Any]:
        correct = writer.read_staged("capability").select(["correct", "correct_normalised"]).to_pydict()
        n = len(correct["correct"])
        return {"questions": n, "accuracy": sum(correct["correct"]) / n, "accuracy_normalised": sum(correct["correct_normalised"]) / n}
