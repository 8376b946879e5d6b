"""What tells runs of one extractor apart, in words: a figure that two runs have needs a name that a reader knows, and an id is none."""

from collections.abc import Sequence

import polars as pl

from personascope.warehouse.asking.source import Source

# The first of these that differ within an extractor name its runs, as many as it takes; the id is the last resort.
FACTS = ("prompts", "prompts_version", "tokens", "dtype", "seed", "study", "finished", "run_id")
QUERY = """select run_id, extractor, split_part(prompt_set, '@', 1) as prompts, prompt_set as prompts_version, nullif(subject, checkpoint) as tokens, dtype,
    'seed ' || seed as seed, study, strftime(finished, '%Y-%m-%d %H:%M') as finished
  from runs"""


def with_run_words(lake: Source, figures: pl.DataFrame) -> pl.DataFrame:
    """The figures with a column `run`, in words, of their `run_id`; NULL where no other run of the extractor stands among them."""
    known = lake.select(QUERY).join(figures.select("run_id").unique(), on="run_id", how="semi").sort("run_id")
    named = [run_words(runs) for _, runs in known.group_by("extractor", maintain_order=True)]
    words = pl.concat(named) if named else pl.DataFrame(schema={"run_id": pl.String, "run": pl.String})
    return figures.join(words, on="run_id", how="left", maintain_order="left")


def run_words(runs: pl.DataFrame) -> pl.DataFrame:
    """Columns run_id and run of runs of one extractor (columns FACTS): no two are called the same, and each by the fewest of FACTS in their order."""
    return runs.select("run_id", run=telling_apart(runs, FACTS))


def telling_apart(rows: pl.DataFrame, facts: Sequence[str]) -> pl.Expr:
    """What tells rows apart, in words: the fewest of these columns in their order, joined; NULL where there is nothing to tell apart."""
    parts: list[pl.Expr] = []
    told = 1
    for fact in facts:
        more = [*parts, pl.col(fact).fill_null("–")]
        if told < rows.select(more).n_unique():
            parts, told = more, rows.select(more).n_unique()
    return pl.concat_str(parts, separator=" · ") if parts else pl.lit(None, pl.String)
