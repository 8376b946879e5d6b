"""What circuit figures and the page share: who was read, on which prompts, by which runs, and how well it does the task."""

from dataclasses import dataclass

import polars as pl

from personascope.warehouse.asking.source import Source
from personascope.warehouse.drawing.run_words import telling_apart
from personascope.warehouse.drawing.words import count

LEAST_ACCURACY = 0.5
NO_FORM = "none"  # phrasing, in the views, of examples that have none


@dataclass(frozen=True)
class Reader:
    """One checkpoint over one set of prompts or completions, with its newest run of each kind (None: none) at one place."""

    subject: str
    checkpoint: str
    prompt_set: str | None
    stratum: str
    lens_run: str | None
    attribution_run: str | None
    ablation_run: str | None
    patch_runs: tuple[str, ...]
    name: str

    @property
    def what(self) -> str:
        """What one example is called."""
        return "generation" if self.stratum == "marker" else "prompt"

    def form_words(self, form: str) -> str:
        """What examples of a phrasing are called; generations have none."""
        return form if form != NO_FORM else f"{self.what}s" if self.stratum == "marker" else "no phrasing"

    @property
    def runs(self) -> frozenset[str]:
        return frozenset(run for run in (self.lens_run, self.attribution_run, self.ablation_run, *self.patch_runs) if run)


def readers(lake: Source, study: str | None = None) -> list[Reader]:
    """Every reader in the lake at every place that was read, the newest first; `study` leaves out those whose newest run is of another study."""
    rows = lake.select(
        """with places as (
          select distinct run_id, stratum from logit_lens where stratum <> 'every' union select distinct run_id, stratum from attributions
          union select distinct run_id, stratum from ablations union select distinct run_id, stratum from patches
        )
        select distinct c.subject, c.checkpoint, c.prompt_set, c.form, c.dtype, c.tokens_run, p.stratum, c.lens_run, c.attribution_run, c.ablation_run,
          c.patch_runs, c.finished
        from circuit_runs as c
        join places as p on p.run_id in (c.lens_run, c.attribution_run, c.ablation_run) or list_contains(c.patch_runs, p.run_id)
        where $study is null or coalesce(c.study, $study) = $study
        order by c.finished desc, c.subject, p.stratum""",
        study=study,
    )
    rows = rows.with_columns(
        run=pl.coalesce("lens_run", "ablation_run", "attribution_run", pl.col("patch_runs").list.first()),
        title=pl.concat_str("subject", pl.col("prompt_set").str.split("@").list.first(), "stratum", separator=" · ", ignore_nulls=True),
    )
    names = dict[tuple[str, str], str]()
    for (title,), alike in rows.group_by("title"):
        words = alike.select("run", "stratum", words=telling_apart(alike, ("form", "dtype", "prompt_set", "tokens_run", "run")))
        names |= {(run, stratum): f"{title} · {more}" if more else str(title) for run, stratum, more in words.iter_rows()}
    found = []
    for row in rows.iter_rows(named=True):
        runs = {key: row[key] for key in ("subject", "checkpoint", "prompt_set", "stratum", "lens_run", "attribution_run", "ablation_run")}
        found.append(Reader(**runs, patch_runs=tuple(row["patch_runs"] or ()), name=names[row["run"], row["stratum"]]))
    return found


def sample(n: int, n_clusters: int | None, what: str = "prompt") -> str:
    """How many examples of how many questions stand behind a figure; `what` is what one example is called."""
    return f"{count(n, what)} of {count(n_clusters, 'question')}" if n_clusters is not None else count(n, what)
