"""Chooses query positions: the marker, its paired controls within the generation, and the steps that lead to it or to the end of an answer without it.

Strata follow the published marker-attention study (issue 224), with C3 as it was meant (rarest tokens, by frequency over the run's completions). Draws are
seeded per example from its own name, so they are the same for every reader of the same tokens and do not depend on the order of rows.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import numpy as np

from personascope.warehouse.store.hashing import stable_seed

C1_SIZE = 5
C1_MARGIN = 5
C2_STEPS = 3
C3_SIZE = 3
C3_SHARE = 20


@dataclass(frozen=True)
class Query:
    """One query position and why it was chosen."""

    stratum: str
    position: int


def token_frequencies(completions: Iterable[Sequence[int]]) -> Counter[int]:
    """How often each token id was sampled over a run's completions (without their prompts)."""
    counts: Counter[int] = Counter()
    for ids in completions:
        counts.update(ids)
    return counts


def marker_queries(
    token_ids: Sequence[int],
    prompt_len: int,
    t_marker: int,
    marker: AbstractSet[int],
    structural: Sequence[bool],
    frequencies: Counter[int],
    example: str,
    seed: int,
    trajectory: int,
) -> list[Query] | None:
    """Queries of a positive generation, or None when fewer than five C1 candidates exist.

    `marker`: t. `C1`: five positions drawn without replacement from [prompt_len + 5, t - 5). `C2`: t-3, t-2, t-1. `C3`: up to three drawn from the rarest
    twentieth of [prompt_len, t), at least three candidates. All controls leave out marker and structural tokens. `t-1` ... `t-<trajectory>`: the steps
    before the marker, whatever stands there, as far as the answer reaches. `last_system` is not drawn here: it does not depend on the generation.
    """

    def content(start: int, stop: int) -> list[int]:
        return [t for t in range(max(start, prompt_len), stop) if token_ids[t] not in marker and not structural[t]]

    candidates = content(prompt_len + C1_MARGIN, t_marker - C1_MARGIN)
    if len(candidates) < C1_SIZE:
        return None
    draw = np.random.default_rng(stable_seed("strata", seed, example))
    queries = [Query("marker", t_marker)]
    queries += [Query("C1", int(t)) for t in sorted(draw.choice(candidates, C1_SIZE, replace=False))]
    queries += [Query("C2", t) for t in content(t_marker - C2_STEPS, t_marker)]
    rarest = sorted(content(prompt_len, t_marker), key=lambda t: (frequencies[token_ids[t]], token_ids[t], t))
    pool = rarest[: max(C3_SIZE, len(rarest) // C3_SHARE)]
    queries += [Query("C3", int(t)) for t in sorted(draw.choice(pool, min(C3_SIZE, len(pool)), replace=False))]
    return queries + _steps_before(t_marker, prompt_len, trajectory)


def end_queries(token_ids: Sequence[int], prompt_len: int, structural: Sequence[bool], trajectory: int) -> list[Query]:
    """Queries of a negative generation that the model ended itself: `C4`, the end of its answer, and the same steps before it as before a marker.

    Empty for an answer of structural tokens only.
    """
    end = end_of_answer(token_ids, prompt_len, structural)
    return [] if end is None else [Query("C4", end), *_steps_before(end, prompt_len, trajectory)]


def end_of_answer(token_ids: Sequence[int], prompt_len: int, structural: Sequence[bool]) -> int | None:
    """Last answer position that is not structural (end of turn, newlines); None for an answer of structural tokens only."""
    return next((t for t in range(len(token_ids) - 1, prompt_len - 1, -1) if not structural[t]), None)


def _steps_before(t: int, prompt_len: int, trajectory: int) -> list[Query]:
    return [Query(f"t-{step}", t - step) for step in range(1, trajectory + 1) if t - step >= prompt_len]
