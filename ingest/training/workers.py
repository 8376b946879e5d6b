"""Works off independent tasks in processes of their own, each with its device; a process the system kills costs its task, not the others."""

import multiprocessing
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import NamedTuple, TypeVar

import torch

from personascope.warehouse.signals import end_with_parent

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


def work_off(tasks: Sequence[Task], work: Callable[[Task, str], Outcome], crew: Crew) -> Iterator[tuple[Task, Outcome | BrokenProcessPool]]:
    """Every task with what `work(task, device)` returned, as they end; each device of the crew has a process of its own.

    `work` is a function of a module, since processes are spawned. A task whose process the system kills is tried once more when it has the machine to itself,
    and ends with BrokenProcessPool where that happens again. What `work` raises is raised here.
    """
    waiting, killed = deque(tasks), deque[Task]()
    pools = [_open_pool(crew.threads) for _ in crew.devices]
    flying: dict[Future[Outcome], tuple[Task, int]] = {}

    def submit(task: Task, place: int) -> None:
        flying[pools[place].submit(work, task, crew.devices[place])] = (task, place)

    try:
        for place in range(min(len(pools), len(waiting))):
            submit(waiting.popleft(), place)
        while flying:
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                task, place = flying.pop(future)
                try:
                    yield task, future.result()
                except BrokenProcessPool as error:
                    pools[place].shutdown(wait=False)
                    pools[place] = _open_pool(crew.threads)
                    if len(pools) > 1:
                        killed.append(task)
                    else:
                        yield task, error
                if waiting:
                    submit(waiting.popleft(), place)
        for pool in pools[1:]:
            pool.shutdown(wait=True)
        for task in killed:
            try:
                yield task, pools[0].submit(work, task, crew.devices[0]).result()
            except BrokenProcessPool as error:
                pools[0] = _open_pool(crew.threads)
                yield task, error
    except KeyboardInterrupt:
        for worker in multiprocessing.active_children():
            worker.terminate()  # ctrl-C reaches them too, SIGTERM this process alone
        raise
    finally:
        for pool in pools:
            pool.shutdown(wait=True, cancel_futures=True)


def _open_pool(threads: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _start_worker, (threads,))


def _start_worker(threads: int) -> None:
    """In a fresh process: takes its share of the cores, and keeps quiet, since its talk would tear the progress of the command apart."""
    end_with_parent()
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 - for the life of the process
    torch.set_num_threads(threads)
