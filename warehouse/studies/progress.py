"""How far a study is in a lake: the runs its steps make, counted by extractor, against those the lake holds of it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import prod

from personascope.warehouse.claims.registration import EXTRACTOR as REGISTRATION
from personascope.warehouse.errors import PersonascopeError
from personascope.warehouse.store.hashing import stable_hash
from personascope.warehouse.store.manifest import Manifest
from personascope.warehouse.studies.model import AnalyseStep, ExtractStep, GridStep, StudyFile, Variant
from personascope.warehouse.studies.reading import read_source
from personascope.warehouse.studies.variants import VARIANTS

FAILED = "failed-"  # begins the extractor of a training that ended in a failure, which is a result too


@dataclass(frozen=True)
class Progress:
    """What is missing of variants of a study: by extractor how many runs there are, of how many; empty where they are complete."""

    variants: tuple[Variant, ...]
    missing: dict[str, tuple[int, int]]

    def words(self) -> str:
        """`complete: all runs of variant quick`, or `missing of variant quick: 3 of 10 attention`."""
        of = f"variant{'s' if len(self.variants) > 1 else ''} {' or '.join(self.variants)}"
        if not self.missing:
            return f"complete: all runs of {of}"
        return f"missing of {of}: {', '.join(f'{n - there} of {n} {name}' for name, (there, n) in self.missing.items())}"


def progress(study: str, runs: Iterable[Manifest]) -> Progress | None:
    """What is missing of the variant that was run last, or, where no run says which that was, of those of which least is missing.

    None for a study of the reader's own, and where none of its steps was ever run (published results, checked claims). Counted are runs of the study by
    extractor: a step that was run twice under other settings may stand for one that was not.
    """
    ours = [each for each in runs if each.study == study]
    found = Counter(each.extractor.removeprefix(FAILED) for each in ours)
    wanted = {variant: of for variant in VARIANTS if (of := _wanted(study, variant))}
    missing = {variant: {name: (found[name], n) for name, n in of.items() if found[name] < n} for variant, of in wanted.items()}
    registered = [each.identity.get("file") for each in sorted(ours, key=lambda each: each.finished) if each.extractor == REGISTRATION]
    known = [variant for variant in missing if registered and _hash(study, variant) == registered[-1]]
    least = min((sum(n - there for there, n in each.values()) for each in missing.values()), default=0)
    chosen = known or [variant for variant, each in missing.items() if sum(n - there for there, n in each.values()) == least]
    if not chosen or not (known or any(found[name] for of in wanted.values() for name in of)):
        return None
    same = tuple(variant for variant in chosen if missing[variant] == missing[chosen[0]])
    return Progress(same, missing[chosen[0]])


@cache
def _hash(study: str, variant: Variant) -> str:
    """The hash under which a run of the variant as it ships is registered."""
    return stable_hash(read_source(study, variant).study.model_dump(mode="json"))


@cache
def _wanted(study: str, variant: Variant) -> Counter[str]:
    try:
        return runs_of_steps(read_source(study, variant).study)
    except PersonascopeError:
        return Counter()


def runs_of_steps(study: StudyFile) -> Counter[str]:
    """How many runs of each extractor and trainer the steps make; analyses, which hang on what there is to analyse, are not counted."""
    wanted: Counter[str] = Counter()
    for step in study.steps:
        if isinstance(step, ExtractStep):
            tokens = len(step.tokens) if isinstance(step.tokens, list) else 1
            wanted[step.extract] += max(len(step.checkpoints), tokens)
        elif isinstance(step, GridStep):
            n_cells = prod(len(values) for values in step.axes.values())
            wanted[step.grid] += n_cells
            n_kept = len(step.settings.get("keep_steps") or ())
            for cell in step.cells:
                wanted[cell.extract] += n_cells * (n_kept if cell.reader == "kept" else 1)
        elif not isinstance(step, AnalyseStep):
            wanted[step.train] += 1
    return wanted
