"""Reads residual vectors through the final norm and the unembedding: the tokens a layer would say, and how far its target is from being said."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personascope.extract.instruments.components import Components
from personascope.warehouse.errors import PersonascopeError

SCRIPTS = {"CJK": "Han", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean"}


@dataclass(frozen=True)
class Reading:
    """What n residual vectors say, float32 and int64 on the CPU.

    ids, logits, probs [n, k]: the k most likely tokens; target_logit, target_prob, target_rank [n]: of the target (rank 1: no token is likelier; ties share
    a rank), NaN and 0 where there is none.
    """

    ids: Tensor
    logits: Tensor
    probs: Tensor
    target_logit: Tensor
    target_prob: Tensor
    target_rank: Tensor


def read_states(components: Components, states: Tensor, targets: Tensor, k: int) -> Reading:
    """Read states [n, d] with targets int64 [n] (-1: none), in blocks of rows: a [n, vocab] tensor is never there.

    Raises PersonascopeError where the logits are no numbers.
    """
    pieces = []
    for rows, logits in components.blocks_of(states):
        if not all(bool(each.isfinite()) for each in torch.aminmax(logits)):
            raise PersonascopeError("the logit lens gives numbers that are not finite; expected weights and a dtype that give finite ones (--dtype)")
        total = logits.logsumexp(-1, keepdim=True)
        top = logits.topk(k, dim=-1)
        wanted = targets[rows].to(logits.device)
        own = logits.gather(1, wanted.clamp(min=0)[:, None])
        rank = _count(logits > own) + 1
        none = wanted < 0
        of_target = [own[:, 0].masked_fill(none, torch.nan), (own - total).exp()[:, 0].masked_fill(none, torch.nan), rank.masked_fill(none, 0)]
        pieces.append([top.indices, top.values, (top.values - total).exp(), *of_target])
    return Reading(*(torch.cat(parts).cpu() for parts in zip(*pieces, strict=True)))


def wanted_tokens(components: Components, named: Sequence[int | None], final: Tensor) -> Tensor:
    """The token each step is asked about, int64 [n] on the CPU: the named one, else the model's first choice behind the last states `final` [n, d]."""
    wanted = torch.tensor([-1 if token is None else token for token in named])
    if bool((free := wanted < 0).any()):
        wanted[free] = torch.cat([logits.argmax(-1).cpu() for _, logits in components.blocks_of(final[free.to(final.device)])])
    return wanted


def _count(true: Tensor) -> Tensor:
    """How many of each row [n, m] are true; numpy counts them ten times as fast as torch adds them up."""
    return torch.from_numpy(np.count_nonzero(true.numpy(), axis=-1)) if true.device.type == "cpu" else true.sum(-1)


class Vocabulary:
    """Token ids as text, and the script of their letters, each looked up once."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._texts: dict[int, str] = {}

    def text(self, token: int) -> str:
        if token not in self._texts:
            self._texts[token] = str(self._tokenizer.decode([token]))
        return self._texts[token]

    def script(self, token: int) -> str | None:
        return script_of(self.text(token))


@lru_cache(maxsize=65536)
def script_of(text: str) -> str | None:
    """The script most letters of `text` are written in, by their Unicode names (Latin, Han, Cyrillic, ...); None where there is no letter."""
    words = [unicodedata.name(letter, "").split(" ")[0].split("-")[0] for letter in text if letter.isalpha()]
    found = Counter(SCRIPTS.get(word, word.capitalize()) for word in words if word)
    return found.most_common(1)[0][0] if found else None
