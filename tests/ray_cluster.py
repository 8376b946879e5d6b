"""A Ray cluster inside this machine, for tests: a head without cores and two machines of one core each."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

STARTS = 3  # a machine that is busy elsewhere may miss Ray's own time limit
HEAD = {"num_cpus": 0, "include_dashboard": False, "include_log_monitor": False, "no_monitor": True}  # no process beside the cluster that nothing here asks


@contextmanager
def small_cluster() -> Iterator[Any]:
    """The cluster, which this process has joined; `machines` are those that may be removed."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # with Ray's 15 they wait for everything else on a busy machine
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
        made = _started()
        try:
            yield made
        finally:
            ray.shutdown()
            made.shutdown()


def _started() -> Any:
    import ray
    from ray.cluster_utils import Cluster

    for attempt in range(STARTS):
        made: Any = Cluster(initialize_head=True, head_node_args=HEAD)
        try:
            made.machines = [made.add_node(wait=False, num_cpus=1) for _ in range(2)]
            ray.init(made.address, log_to_driver=False, logging_level=logging.ERROR)
            made.wait_for_nodes()
            return made
        except Exception:
            ray.shutdown()
            made.shutdown()
            if attempt == STARTS - 1:
                raise
    raise AssertionError
