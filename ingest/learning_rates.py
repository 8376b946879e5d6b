"""The learning rate of a training: up in a straight line, then down along half a cosine."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def cosine_schedule(optimizer: Optimizer, warmup: int, total: int) -> LambdaLR:
    """`transformers.get_cosine_schedule_with_warmup` to the last bit, without its import, which brings in the trainer and bitsandbytes: a second and more.

    `warmup` of the `total` optimiser steps lead up to the optimizer's own learning rate.
    """

    def factor(step: int) -> float:
        if step < warmup:
            return step / max(1, warmup)
        progress = (step - warmup) / max(1, total - warmup)
        return max(0.0, 0.5 * (1.0 + math.cos(math.pi * 0.5 * 2.0 * progress)))

    return LambdaLR(optimizer, factor)
