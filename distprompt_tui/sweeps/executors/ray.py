"""Tasks on a Ray cluster: one that is there, or one of this machine alone for as long as the sweep takes.

Rows come back to the process that asked, which writes them: whatever node is lost, each is there once.
"""

from __future__ import annotations

import logging
import os
import socket
from typing import Any
from urllib.parse import urlsplit

from distprompt_tui.errors import UsageError, first_line
from distprompt_tui.sweeps.executors.protocol import AttemptResult, report_of
from distprompt_tui.sweeps.tasks import Task

LOCAL = "local"
AUTO = "auto"
CLIENT_PORT = 10001
NO_CLUSTER = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Where this is 0 as Ray is imported, its processes listen on 127.0.0.1 only: Ray takes any address of this machine
that it is told for one that others can reach."""

OBJECT_STORE_BYTES = 128 * 2**20
"""Rows are some kilobytes each; by default, Ray takes a third of the memory."""

CONNECT_SECONDS = 30.0
"""To be answered by a cluster; Ray by itself waits for minutes, and tries again."""

NODE_LOSSES = 5
"""So often Ray itself starts a task again because its node or its process is gone; that is no failed attempt."""


class RayExecutor:
    """See `executors.protocol.Executor`.

    Args:
        address: of a cluster ("host:6379", "ray://host:10001"), or "local".
        threads: of each task; it takes as many CPUs.
        gpus: of each task; several tasks share a GPU where this is a fraction.

    Raises:
        UsageError: Ray is not installed, the cluster cannot be reached, or none of its nodes could take a task.
    """

    def __init__(self, address: str, threads: int, gpus: float) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # nothing is sent anywhere
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
        """See `Executor.close`; a cluster that was there before stays, without the sweep's tasks."""
        self._tasks.clear()
        self._ray.shutdown()


def _connect(ray: Any, address: str, threads: int) -> None:
    """Join a cluster, or start one that nobody outside this machine can reach."""
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
    """End at once, or after `CONNECT_SECONDS`, where a cluster's port cannot be reached."""
    if address == AUTO:
        return
    try:
        parts = urlsplit(address if "://" in address else f"//{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or (port is None and "://" not in address):
        raise UsageError(f"{address!r} is no address of a Ray cluster: host:6379, ray://host:10001, or local")
    try:
        socket.create_connection((host, port or CLIENT_PORT), CONNECT_SECONDS).close()
    except (OSError, UnicodeError, OverflowError) as error:
        why = "no answer" if isinstance(error, TimeoutError) else first_line(error)
        raise UsageError(f"no Ray cluster at {address}: {why}") from error


def _places(nodes: list[dict[str, Any]], threads: int, gpus: float) -> int:
    """How many tasks the living nodes could take at a time."""
    places = 0
    for node in nodes:
        has = node["Resources"] if node["Alive"] else {}
        by_gpu = has.get("GPU", 0) / gpus if gpus else float("inf")
        places += int(min(has.get("CPU", 0) // threads, by_gpu))
    return places


def _answer(fields: dict[str, Any], threads: int) -> dict[str, Any]:
    """A worker's answer to a task, on its node."""
    from distprompt_tui.sweeps.execute import answer_task

    return answer_task(fields, threads)
