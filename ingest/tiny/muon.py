"""Muon as torch has it, to the last bit, five times as fast on a processor without bfloat16 arithmetic, where torch multiplies matrices element by element.

Muon (Jordan et al. 2024) replaces the momentum of a matrix by the nearest orthogonal one, found by Newton-Schulz iterations in bfloat16.
"""

import math
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Any

import torch
from torch import Tensor

MOMENTUM = 0.95
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
SMALLEST_NORM = 1e-7
THREADS = 2  # matrices at a time: no thread waits for another's part of a sum, as torch's own threads would
LANES = 4  # partial sums of torch's own loop over the inner dimension


class Muon(torch.optim.Optimizer):
    """`torch.optim.Muon(..., weight_decay=0, adjust_lr_fn="match_rms_adamw")`: Nesterov momentum, orthogonalised, with steps as long as AdamW's."""

    def __init__(self, matrices: Iterable[Tensor], lr: float) -> None:
        super().__init__(matrices, {"lr": lr})
        self._threads = ThreadPoolExecutor(THREADS, initializer=torch.set_num_threads, initargs=(1,))

    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            deque(self._threads.map(self._step_of, group["params"], repeat(group["lr"])), maxlen=0)

    @torch.no_grad()
    def _step_of(self, matrix: Tensor, lr: float) -> None:
        gradient: Any = matrix.grad
        momentum = self._momentum(matrix)
        momentum.lerp_(gradient, 1 - MOMENTUM)
        update = orthogonal(gradient.lerp(momentum, MOMENTUM))
        matrix.add_(update, alpha=-lr * (0.2 * math.sqrt(max(matrix.shape))))

    def _momentum(self, matrix: Tensor) -> Tensor:
        state: dict[str, Any] = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        return state["momentum"]


def orthogonal(matrix: Tensor) -> Tensor:
    """The orthogonal matrix nearest to `matrix` [rows, columns], as far as five iterations get; bfloat16."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    found = matrix.bfloat16().T if tall else matrix.bfloat16()
    found.div_(found.norm().clamp(min=SMALLEST_NORM))
    for _ in range(ITERATIONS):
        gram = found @ found.T
        gram = _multiply_add(gram, b, gram, gram, c)
        found = _multiply_add(found, a, gram, found, 1.0)
    return found.T if tall else found


def _multiply_add(added: Tensor, beta: float, left: Tensor, right: Tensor, alpha: float) -> Tensor:
    """`torch.addmm(added, left, right, beta=beta, alpha=alpha)` of bfloat16 matrices; a transposed `right` torch itself multiplies fast."""
    slow = torch.backends.cpu.get_cpu_capability() == "AVX2" and left.device.type == "cpu" and right.is_contiguous()
    if slow and left.shape[1] % LANES == 0:
        return _by_lanes(added, beta, left, right, alpha)
    return torch.addmm(added, left, right, beta=beta, alpha=alpha)


def _by_lanes(added: Tensor, beta: float, left: Tensor, right: Tensor, alpha: float) -> Tensor:
    """The sums of torch's loop in its order, by float32 products: every fourth term makes a partial sum, and beta * added joins in one fused operation.

    A product of two bfloat16 numbers is exact in float32, and beta * added is exact in float64, so the order of the sums is all that can differ.
    """
    (rows, inner), columns = left.shape, right.shape[1]
    lefts = left.float().view(rows, inner // LANES, LANES).permute(2, 0, 1)
    rights = right.float().reshape(inner // LANES, LANES, columns).transpose(0, 1)
    first, second, third, fourth = torch.bmm(lefts, rights)
    product = first.add_(second).add_(third).add_(fourth)
    if alpha != 1.0:
        product *= alpha
    return torch.add(product.double(), added.double(), alpha=_single(beta)).float().bfloat16()


def _single(value: float) -> float:
    """`value` as a float32 holds it."""
    return torch.tensor(value, dtype=torch.float32).item()
