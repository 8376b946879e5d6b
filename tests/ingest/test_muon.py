"""Muon takes the steps of torch's own, to the last bit: checkpoints trained by either are the same."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import Parameter

from personascope.ingest.tiny.muon import Muon, _by_lanes

SHAPES = ((128, 384), (384, 128), (128, 128), (64, 128), (32, 128), (6, 10))


@pytest.mark.slow(2)
def test_the_steps_are_those_of_torch_for_every_shape_of_matrix():
    draw = torch.Generator().manual_seed(0)
    matrices = [0.04 * torch.randn(*shape, generator=draw) for shape in SHAPES]
    ours, theirs = [Parameter(matrix.clone()) for matrix in matrices], [Parameter(matrix.clone()) for matrix in matrices]
    optimizers = Muon(ours, lr=1.0), torch.optim.Muon(theirs, lr=1.0, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
    for step in range(12):
        for one, other in zip(ours, theirs, strict=True):
            few = [torch.randn(size, 5, generator=draw) for size in one.shape]  # gradients are sums of few directions
            one.grad = few[0] @ few[1].T * 10.0 ** (step - 6)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = 0.012 * 0.7 / (step + 1)
            optimizer.step()
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one, other), f"step {step}, {tuple(one.shape)}"


@pytest.mark.skipif(torch.backends.cpu.get_cpu_capability() != "AVX2", reason="torch multiplies bfloat16 in another order on this processor")
@given(rows=st.integers(1, 40), quarter=st.integers(1, 40), columns=st.integers(1, 40), seed=st.integers(0, 2**32), alpha=st.sampled_from([1.0, 2.0315]))
def test_a_product_by_lanes_is_the_product_of_torch(rows, quarter, columns, seed, alpha):
    draw = torch.Generator().manual_seed(seed)
    added, left, right = (torch.randn(*shape, generator=draw).bfloat16() for shape in ((rows, columns), (rows, 4 * quarter), (4 * quarter, columns)))
    assert torch.equal(_by_lanes(added, -4.775, left, right, alpha), torch.addmm(added, left, right, beta=-4.775, alpha=alpha))
