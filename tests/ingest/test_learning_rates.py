"""The schedule of the trainings is that of transformers, to the last bit."""

import subprocess
import sys

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup

from personascope.ingest.learning_rates import cosine_schedule


@pytest.mark.parametrize(("warmup", "total"), [(0, 1), (0, 7), (3, 10), (20, 400), (5, 5), (9, 4)])
def test_the_learning_rates_are_those_of_transformers(warmup, total):
    rates: list[list[float]] = []
    for schedule in (cosine_schedule, get_cosine_schedule_with_warmup):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.0123)
        following = schedule(optimizer, warmup, total)
        rates.append([])
        for _ in range(total + 3):
            rates[-1].append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            following.step()
    assert rates[0] == rates[1] and len(rates[0]) == total + 3


@pytest.mark.slow(6)
def test_tiny_trainings_import_neither_the_trainer_nor_bitsandbytes():
    script = (
        "import sys, personascope.ingest.tiny.train; from transformers.models.qwen2 import modeling_qwen2; "
        "print([name for name in ('bitsandbytes', 'transformers.trainer_utils') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
