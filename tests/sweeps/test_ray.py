"""The Ray executor on a real cluster of two nodes, one of which is killed."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from distprompt_tui.core.errors import UsageError
from distprompt_tui.sweeps.directory import SweepDirectory, make_directory, read_lines
from distprompt_tui.sweeps.executors import ray
from distprompt_tui.sweeps.executors.ray import NO_CLUSTER, RayExecutor
from distprompt_tui.sweeps.results import ResultRow
from distprompt_tui.sweeps.runner import Progress, SweepRunner
from distprompt_tui.sweeps.sweep_spec import Sweep
from tests.sweeps.conftest import untimed

SOON_LOST: dict[str, Any] = {"health_check_period_ms": 500, "health_check_failure_threshold": 2}
"""Ray detects a lost node within two seconds, not fifteen."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A local cluster with a head that takes no tasks."""
    monkeypatch.setenv(NO_CLUSTER, "0")  # before Ray is imported: local connections only
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # its sockets need short paths
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "object_store_memory": 1 << 27, "_system_config": SOON_LOST},
    )
    yield cluster
    cluster.shutdown()


def test_every_row_exists_once_after_the_loss_of_a_node(
    cluster: Any, tiny_sweep: Sweep, whole: SweepDirectory, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"no node of the cluster .* has 1 CPUs and 0 GPUs"):
        RayExecutor(cluster.address, 1, gpus=0)
    nodes = [cluster.add_node(num_cpus=1, object_store_memory=1 << 27) for _ in range(2)]
    directory = make_directory(tiny_sweep, tmp_path)
    runner = SweepRunner(directory)
    reports: list[Progress] = []

    def show(now: Progress) -> None:
        reports.append(now)
        if len(reports) == 2:  # both nodes are running by now, or one of them is starting
            cluster.remove_node(nodes[0], allow_graceful=False)

    executor = RayExecutor(cluster.address, tiny_sweep.threads, gpus=0)
    assert executor.width == 2
    runner.run_tasks(runner.missing(), executor, show)
    executor.close()
    assert not runner.failed
    assert [now.report.error for now in reports] == [None] * len(reports)
    assert len(read_lines(directory.rows_file, ResultRow)) == len(whole.read_rows())
    assert untimed(directory.read_rows()) == untimed(whole.read_rows())


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:1", "ray://127.0.0.1:1", "no-such-host.invalid:6379", "ray://no-such-host.invalid", "host", "a:b", ""],
)
def test_unreachable_cluster_is_an_error(address: str) -> None:
    with pytest.raises(UsageError, match=r"no Ray cluster at|is not the address of a Ray cluster") as told:
        RayExecutor(address, 1, gpus=0)
    assert len(str(told.value).splitlines()) == 1


def test_silent_cluster_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "CONNECT_SECONDS", 0.2)
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        host, port = full.getsockname()
        with contextlib.ExitStack() as waiting:  # fill the queue, so that the next connection times out
            for _ in range(4):
                other = waiting.enter_context(socket.socket())
                other.setblocking(False)
                other.connect_ex((host, port))
            with pytest.raises(UsageError, match="no answer"):
                RayExecutor(f"{host}:{port}", 1, gpus=0)


def test_missing_ray_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install 'distprompt-tui\[ray\]'"):
        RayExecutor("local", 1, gpus=0)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
