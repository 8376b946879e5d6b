"""What the tests of worker processes give them to do: a module that a spawned process can import."""

import os
import signal
import time
from pathlib import Path

import torch


def work(task, device):
    """Leaves a file beside the task's own path; `deadly` is killed every time, `unlucky` only where it is not alone."""
    name = Path(task).name
    mark = Path(f"{task}.tried")
    if name == "deadly" or (name == "unlucky" and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "wrong":
        raise ValueError("wrong")
    with Path(task).open("a") as file:
        file.write("x")
    time.sleep(0.05)
    return name.upper(), device, torch.get_num_threads(), os.getpid()


def sleep_long(journal: Path, device: str) -> None:
    """Writes the process's number down, sleeps far longer than a test lasts, and writes down that it was ended in order."""
    journal.write_text(f"{os.getpid()}\n")
    try:
        time.sleep(300)
    except KeyboardInterrupt:
        with journal.open("a") as more:
            more.write("ended\n")
        raise
