"""Runs tasks on an existing Ray cluster, or on a local one for the duration of the sweep.

Only the calling process writes rows, so each row exists once even if a node is lost.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import Any
from urllib.parse import urlsplit

from distprompt_tui.core.errors import UsageError, first_line
from distprompt_tui.sweeps.executors.protocol import AttemptResult, report_of
from distprompt_tui.sweeps.tasks import Task

LOCAL = "local"
AUTO = "auto"
CLIENT_PORT = 10001
NO_CLUSTER = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""If this variable is 0 when Ray is imported, its processes listen on 127.0.0.1 only. A node address argument does not
achieve this, because Ray treats every local address as reachable from outside."""

OBJECT_STORE_BYTES = 128 * 2**20  # rows have some kilobytes each; by default, Ray takes a third of the memory

CONNECT_SECONDS = 30.0  # timeout for a connection to a cluster; Ray itself waits for minutes and retries

NODE_LOSSES = 5
"""Number of times Ray restarts a task whose node or process is lost; these do not count as failed attempts."""


class RayExecutor:
    """An `Executor` on Ray.

    Args:
        address: address of a cluster ("host:6379", "ray://host:10001"), or "local".
        threads: number of threads, and of CPUs, per task.
        gpus: number of GPUs per task; with a fraction, several tasks share a GPU.

    Raises:
        UsageError: Ray is not installed, the cluster cannot be reached, or no node has the resources for a task.
    """

    def __init__(self, address: str, threads: int, gpus: float) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        if address == LOCAL:
            os.environ[NO_CLUSTER] = "0"
            os.environ.setdefault("RAY_TMPDIR", "/tmp")  # Ray's sockets need short paths, and TMPDIR may be a long one
        try:
            import ray
        except ImportError:
            raise UsageError("the ray executor needs Ray: pip install 'distprompt-tui[ray]'") from None
        self._ray: Any = ray
        self._threads = threads
        self._tasks: dict[Any, Task] = {}
        _connect(ray, address, threads)
        self.width = _places(ray.nodes(), threads, gpus)
        if not self.width:
            self.close()
            raise UsageError(f"no node of the cluster {address} has {threads} CPUs and {gpus:g} GPUs for a task")
        self._answer = ray.remote(_answer).options(num_cpus=threads, num_gpus=gpus, max_retries=NODE_LOSSES)

    def submit(self, task: Task) -> None:
        self._tasks[self._answer.remote(task.model_dump(mode="json"), self._threads)] = task

    def wait(self) -> AttemptResult:
        (reference,), _ = self._ray.wait(list(self._tasks), num_returns=1)
        task = self._tasks.pop(reference)
        try:
            return report_of(task, self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            return AttemptResult(task, error=f"{type(error).__name__}: {str(error).splitlines()[0]}")

    def close(self) -> None:
        """See `Executor.close`; an existing cluster keeps running without the sweep's tasks."""
        self._tasks.clear()
        self._ray.shutdown()


def _connect(ray: Any, address: str, threads: int) -> None:
    """Join a cluster, or start one that only this machine can reach."""
    here: dict[str, Any] = {
        "num_cpus": max(threads, os.cpu_count() or 1),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
    }
    if address != LOCAL:
        _refuse_where_nobody_answers(address)
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(here if address == LOCAL else {}),
        )
    except (OSError, ValueError, RuntimeError, AssertionError) as error:
        raise UsageError(f"no Ray cluster at {address}: {first_line(error)}") from error


def _refuse_where_nobody_answers(address: str) -> None:
    """Raise a `UsageError` if a cluster's port cannot be reached within `CONNECT_SECONDS`."""
    if address == AUTO:
        return
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or (port is None and "://" not in address):
        raise UsageError(f"{address!r} is not the address of a Ray cluster: use host:6379, ray://host:10001, or local")
    try:
        socket.create_connection((host, port or CLIENT_PORT), CONNECT_SECONDS).close()
    except (OSError, UnicodeError, OverflowError) as error:
        why = "no answer" if isinstance(error, TimeoutError) else first_line(error)
        raise UsageError(f"no Ray cluster at {address}: {why}") from error


def _places(nodes: list[dict[str, Any]], threads: int, gpus: float) -> int:
    """Return the number of tasks that the live nodes can run in parallel."""
    places = 0
    for node in nodes:
        has = node["Resources"] if node["Alive"] else {}
        by_gpu = has.get("GPU", 0) / gpus if gpus else float("inf")
        places += int(min(has.get("CPU", 0) // threads, by_gpu))
    return places


def _answer(fields: dict[str, Any], threads: int) -> dict[str, Any]:
    from distprompt_tui.sweeps.execute import answer_task

    return answer_task(fields, threads)
