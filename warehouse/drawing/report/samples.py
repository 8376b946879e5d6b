"""A few generations of a study as they stand: what was asked, the text around the marker, and the positions that were read."""

from collections.abc import Sequence

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing.report.document import Block, Paragraph, listing
from personascope.warehouse.store.manifest import Manifest

BEFORE, AFTER = 140, 40
POSITIVES, NEGATIVES, MOST = 3, 1, 24
TRAJECTORY = "t-"
# Drawn by hash, not chosen by hand; readouts are asked first, since theirs are the positions.
DRAWN = f"""with read as (select distinct tokens_run, persona from subjects where tokens_run is not null),
  asked as (select run_id, example_id, any_value(question) as question from examples group by run_id, example_id),
  drawn as (
    select g.*, q.question,
      row_number() over (
        partition by g.run_id, g.persona, g.positive order by md5(concat_ws(' ', g.run_id, g.example_id, g.sample_ix, g.row_ix)), g.row_ix
      ) as turn
    from generations as g
    join read as r on r.tokens_run = g.run_id and r.persona = g.persona
    left join asked as q on q.run_id = g.run_id and q.example_id = g.example_id
  )
  select run_id, checkpoint, persona, coalesce(question, question_id) as question, example_id, sample_ix, row_ix, marker, positive, partial, text, first_char,
    t_marker, prompt_len, n_new_tokens
  from drawn where turn <= case when positive then {POSITIVES} else {NEGATIVES} end
  order by checkpoint, run_id, persona, positive desc, turn"""
POSITIONS = """select e.tokens_run, e.example_id, e.sample_ix, e.stratum, list_sort(list(distinct e.position)) as positions
  from (
    select tokens_run, example_id, sample_ix, position, unnest(string_split(strata, ', ')) as stratum from example_positions where position is not null
  ) as e
  group by all order by e.stratum"""


def samples(lake: Source, runs: Sequence[Manifest]) -> list[Block]:
    """Up to three generations with the marker and one without it, per checkpoint and persona whose answers were read."""
    names = [each.run_id for each in runs]
    drawn = lake.select(DRAWN).filter(pl.col("run_id").is_in(names))
    if drawn.is_empty():
        return [Paragraph("No generation whose positions were read is in this lake with its text.", missing=True)]
    shown = drawn.head(MOST)
    read = lake.select(POSITIONS).filter(pl.col("tokens_run").is_in(names))
    places: dict[tuple, list[str]] = {}
    for tokens_run, example_id, sample_ix, stratum, positions in read.iter_rows():
        if not stratum.startswith(TRAJECTORY):
            places.setdefault((tokens_run, example_id, sample_ix), []).append(f"{stratum} {', '.join(map(str, positions))}")
    rows = []
    for row in shown.iter_rows(named=True):
        found = places.get((row["run_id"], row["example_id"], row["sample_ix"]))
        rows.append(
            (
                row["checkpoint"],
                row["persona"],
                row["question"],
                f"{row['sample_ix']}" if row["sample_ix"] is not None else f"row {row['row_ix']}",
                around(row["text"], row["first_char"], row["marker"]),
                row["t_marker"] if row["positive"] else "no marker",
                "; ".join(found) if found else None,
                row["prompt_len"],
                row["n_new_tokens"],
            )
        )
    columns = ("checkpoint", "persona", "question", "repeat", "text around the marker", "t*", "positions read", "prompt tokens", "answer tokens")
    more = f" {drawn.height - shown.height} more were drawn and left out." if drawn.height > shown.height else ""
    words = (
        f"Per checkpoint and persona up to {POSITIVES} generations with the marker and {NEGATIVES} without, drawn by a hash of their names, not chosen. t* is "
        f"the absolute index of the marker's first token; positions count from 0 over prompt and answer; ↵ is a line break. The steps of the trajectory "
        f"(t-1 to t-9) lie just before t*.{more}"
    )
    return [Paragraph(words), listing(columns, rows)]


def around(text: str | None, first_char: int | None, marker: str | None) -> str | None:
    """The text around the marker, or the end of one that does not hold it, on one line, with … where it was cut."""
    if not text:
        return None
    if first_char is None or not marker:
        start, end = max(0, len(text) - BEFORE), len(text)
    else:
        start, end = max(0, first_char - BEFORE), min(len(text), first_char + len(marker) + AFTER)
    words = text[start:end].replace("\n", "↵")
    return f"{'…' if start else ''}{words}{'…' if end < len(text) else ''}"
