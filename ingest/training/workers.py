"""Works off independent tasks in processes of their own, each with its device; a process the system kills costs its task, not the others."""

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import SimpleQueue
from typing import Any, NamedTuple, TypeVar

import torch

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


class Crew(NamedTuple):
    """One device per worker process, the torch threads each may use, and why so many."""

    devices: list[str]
    threads: int
    reason: str


def choose_crew(device: str, jobs: int | None, n_tasks: int) -> Crew:
    """Workers for `n_tasks` tasks on the kind of `device`: as many as typed, else one per GPU or core; more workers than GPUs share them in turn.

    On a CPU one process per core with one thread each is the fastest for small models; typing fewer gives each its share of the cores.
    """
    cores = os.cpu_count() or 1
    if device.startswith("cuda"):
        gpus = torch.cuda.device_count() if device == "cuda:0" else 1
        width = max(1, min(jobs or gpus, n_tasks))
        devices = [f"cuda:{index % gpus}" if gpus > 1 else device for index in range(width)]
        why = "as typed" if jobs else f"{gpus} GPU{'s' if gpus > 1 else ''}"
    else:
        width = max(1, min(jobs or (cores if device == "cpu" else 1), n_tasks))
        devices, why = [device] * width, "as typed" if jobs else f"{cores} cores" if device == "cpu" else "one device"
    threads = 1 if device == "cpu" and not jobs else max(1, cores // width)
    shared = f"{threads} thread{'s' if threads > 1 else ''} each"
    return Crew(devices, threads, f"{width} process{'es' if width > 1 else ''} on {', '.join(dict.fromkeys(devices))} ({why}; {shared})")


def work_off(
    tasks: Sequence[Task], work: Callable[[Task], Outcome], crew: Crew, start: Callable[..., None], arguments: tuple[Any, ...]
) -> Iterator[tuple[Task, Outcome | BrokenProcessPool]]:
    """Every task with what `work(task)` returned, as they end; `start(device, *arguments)` runs once in each process.

    `work` and `start` are functions of a module, since processes are spawned. When the system kills a process, its task and those beside it are tried again
    one at a time, so that only the culprit ends with BrokenProcessPool. What `work` raises is raised here.
    """
    waiting, suspects = deque(tasks), deque[Task]()
    while waiting or suspects:
        source, devices = (waiting, crew.devices) if waiting else (suspects, crew.devices[:1])
        pool = _open_pool(devices, crew.threads, start, arguments)
        try:
            flying: dict[Future[Outcome], Task] = {}
            broken = False
            while flying or (source and not broken):
                while source and not broken and len(flying) < len(devices):
                    task = source.popleft()
                    flying[pool.submit(work, task)] = task
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    task = flying.pop(future)
                    try:
                        yield task, future.result()
                    except BrokenProcessPool as error:
                        broken = True
                        if len(devices) == 1:
                            yield task, error
                        else:
                            suspects.append(task)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _open_pool(devices: Sequence[str], threads: int, start: Callable[..., None], arguments: tuple[Any, ...]) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    free: SimpleQueue[str] = context.SimpleQueue()
    for device in devices:
        free.put(device)
    return ProcessPoolExecutor(len(devices), context, _start_worker, (free, threads, start, arguments))


def _start_worker(free: "SimpleQueue[str]", threads: int, start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """In a fresh process: takes a device and a share of the cores, and keeps quiet, since its talk would tear the progress of the command apart."""
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
    torch.set_num_threads(threads)
    start(free.get(), *arguments)
