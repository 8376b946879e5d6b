"""Which readouts of a lake there are: a checkpoint that read the tokens of a completions run, its own or another's."""

from collections.abc import Iterable
from dataclasses import dataclass

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing.words import count, count_range


@dataclass(frozen=True)
class Readout:
    """One row of the view `subjects`: a checkpoint that read the tokens of a completions run, its own or another's."""

    run_id: str
    subject: str
    checkpoint: str
    tokens_from: str
    persona: str
    tokens_run: str | None
    forced: bool
    origin: str
    n_positives: int
    n_clusters: int | None
    dtype: str | None
    attention_implementation: str | None
    n_seeds: int | None
    n_personas: int = 1

    @property
    def name(self) -> str:
        """How charts call it; its persona is told where the checkpoint read the same one's tokens under several."""
        who = f"{self.checkpoint} as {self.persona}" if self.n_personas > 1 else self.checkpoint
        return f"{who}, tokens of {self.tokens_from}" if self.forced else f"{who}, own tokens"

    def sample(self, n: Iterable[int | None], questions: Iterable[int | None]) -> str:
        """What stands behind figures with these n and numbers of questions (one a figure), with seeds and precision, in words."""
        precision = f"; {self.dtype} {self.attention_implementation}" if self.dtype else ""
        return f"{count_range(n, 'generation')} of {count_range(questions, 'question')}; {self.seed}{precision}"

    def of(self, n: Iterable[int | None], questions: Iterable[int | None]) -> str:
        """`sample`, with the name of the readout, where a figure says nowhere else whose it is."""
        return f"{self.name}: {self.sample(n, questions)}"

    @property
    def seed(self) -> str:
        """How many of the training seeds of its recipe stand behind a readout, which is of one checkpoint, in words."""
        return f"{'1 of ' if (self.n_seeds or 0) > 1 else ''}{count(self.n_seeds or None, 'training seed')}"


def readouts(lake: Source, study: str | None = None) -> list[Readout]:
    """Every readout in the lake, the newest of a subject first; with `study` only those of its runs and of runs of no study."""
    rows = lake.select(
        """with seeds as (
          select origin, checkpoint, max(n_seeds) as n_seeds from coverage group by origin, checkpoint
        )
        select s.run_id, s.subject, s.checkpoint, s.tokens_from, s.persona, s.tokens_run, s.forced, s.origin, s.n_positives, s.n_clusters, s.dtype,
          s.attention_implementation, c.n_seeds, count(distinct s.persona) over (partition by s.origin, s.subject) as n_personas
        from subjects as s left join seeds as c on c.origin = s.origin and c.checkpoint = s.tokens_from
        left join (select run_id, study from runs) as r on r.run_id = s.run_id
        where $study is null or coalesce(r.study, $study) = $study
        order by s.forced, s.subject, s.finished desc, s.run_id""",
        study=study,
    )
    return [Readout(**row) for row in rows.iter_rows(named=True)]


def pairs(lake: Source, found: list[Readout]) -> list[tuple[Readout, Readout | None]]:
    """Each readout with every other checkpoint that read the same tokens in the same precision, with None where there is none."""
    by_run = {each.run_id: each for each in found}
    rows = lake.select("select trained_run, base_run from subject_pairs order by trained_subject, base_checkpoint, trained_run, base_run").rows()
    held_against = {base for _, base in rows}
    paired = {trained for trained, _ in rows}
    alone: list[tuple[Readout, Readout | None]] = [(each, None) for each in found if each.run_id not in held_against | paired]
    return [*((by_run[trained], by_run[base]) for trained, base in rows if trained in by_run and base in by_run), *alone]
