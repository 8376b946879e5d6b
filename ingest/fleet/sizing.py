"""How many workers a command has, and what each of them asks the cluster for."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import NamedTuple

from personascope.warehouse.errors import PersonascopeError


class Sizing(NamedTuple):
    """Number of workers, the CPUs and GPUs that each reserves, the threads it may use, and why so many."""

    width: int
    cpus: float
    gpus: float
    threads: int
    reason: str


def size(machines: Sequence[Mapping[str, float]], typed: int | None, on_gpus: bool | None = None, most: int | None = None, each: int = 1) -> Sizing:
    """The workers for a cluster of machines with so many `CPU` and `GPU` each: as many as typed, else one per GPU, or one per machine where there is none.

    More workers than GPUs or cores share them. `on_gpus`: whether GPUs are used (default: where there are any); `most`: threads that a worker may have where
    they are not; `each`: GPUs of one machine that a worker takes, where it takes several, and then there are no more workers than find theirs. Raises
    PersonascopeError where GPUs are asked for and there are none, or no machine has as many.
    """
    used = [each for each in machines if each.get("GPU") or each.get("CPU")]
    cores = [int(each.get("CPU", 0)) for each in used]
    devices = [int(each.get("GPU", 0)) for each in used]
    gpus = sum(devices)
    if on_gpus and not gpus:
        raise PersonascopeError(
            f"device cuda was asked for, but the cluster ({_counted(len(machines), 'machine')}) has no GPU: type cpu, or leave the device out."
        )
    if gpus and on_gpus is not False and each > 1:
        places = [own // each for own in devices]
        if not any(places):
            raise PersonascopeError(
                f"vLLM is to take {each} GPUs together (tensor_parallel times pipeline_parallel), but no machine has more than {max(devices)}; expected fewer"
            )
        width = min(typed or sum(places), sum(places))
        threads = min(max(1, own // there) for own, there in zip(cores, places, strict=True) if there)
        return Sizing(
            width, 0, each, threads, f"{_counted(width, 'worker')} with {each} GPUs each, of {gpus} on {_counted(sum(map(bool, devices)), 'machine')}"
        )
    if gpus and on_gpus is not False:
        width = typed or gpus
        share = 1 if width <= gpus else 1 / ceil(width / gpus)
        threads = min(max(1, own // (there * round(1 / share))) for own, there in zip(cores, devices, strict=True) if there)
        return Sizing(width, 0, share, threads, f"{_counted(width, 'worker')} on {_counted(gpus, 'GPU')} of {_counted(sum(map(bool, devices)), 'machine')}")
    width = typed or max(1, len(used))
    most = min(most or max(cores, default=0), max(cores, default=0))
    fitting = [threads for threads in range(most, 0, -1) if sum(own // threads for own in cores) >= width]
    threads, cpus = (fitting[0], float(fitting[0])) if fitting else (1, 1 / ceil(width / max(1, sum(cores))))
    return Sizing(width, cpus, 0, threads, f"{_counted(width, 'worker')} on {_counted(len(used), 'machine')}, {_counted(threads, 'thread')} each")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" + ("s" if count != 1 else "")
