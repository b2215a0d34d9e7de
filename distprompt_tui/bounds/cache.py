"""Floor and head optimum of a target on a model, cached by the hash of head and target."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from msgspec import convert
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from distprompt_tui.bounds.floor import solve_floor
from distprompt_tui.bounds.head_optimum import solve_head_optimum
from distprompt_tui.bounds.memory import solver_bytes
from distprompt_tui.bounds.sphere import solve_sphere_bound
from distprompt_tui.bounds.values import Bounds
from distprompt_tui.core.config import paths
from distprompt_tui.core.errors import UsageError
from distprompt_tui.core.storage.legacy import with_new_names
from distprompt_tui.core.storage.safe_io import read_json, write_json
from distprompt_tui.models.device import free_bytes, is_out_of_memory
from distprompt_tui.models.head import Head

Result = TypeVar("Result")

CACHE_VERSION = 4  # part of every key; incremented when a change of the solvers changes their results
HASHED_ROWS = 1 << 14  # rows of a weight that are copied to the host at a time

SPARE = 2.0  # required free memory over that of the solvers: the rest is for what a search allocates later


_HASHED = WeakTensorKeyDictionary()  # weight of a head → text before it, its version, hash object after it


def solve_bounds(
    head: Head, target: Tensor, on_progress: Callable[[str, float], object] = lambda name, value: None
) -> Iterator[Bounds]:
    """Compute the bounds of a target: first the floor, then the head optimum.

    The solvers run on the head's device, on CUDA on a stream of their own, or on the CPU if memory is short there, such
    as beside a search.

    Args:
        head: the model's head.
        target: p, (V,) float64.
        on_progress: receives "floor" or "head_optimum" and its best value so far, nats, many times; it may raise an
            error to stop.

    Yields:
        The bounds computed so far. The last ones are complete and cached. A head that is not linear has no floor;
        `why_no_floor` holds the reason.
    """
    key = _key(head, target)
    memory = paths.bounds_dir() / f"{key}.json"
    if (known := _recall(memory, key)) is not None:
        yield known
        return
    floor = None if head.why_no_floor else _solve(solve_floor, head, target, on_progress=partial(on_progress, "floor"))
    bounds = Bounds(why_no_floor=head.why_no_floor)
    if floor is not None:
        bounds = Bounds(
            floor=floor.floor,
            gap=floor.gap,
            norm_ratio=floor.norm_ratio,
            seconds=floor.seconds,
            dtype=floor.dtype,
            rounding=floor.rounding,
        )
        yield bounds
    if head.norm is not None:
        optimum = _solve(solve_head_optimum, head, target, floor, on_progress=partial(on_progress, "head_optimum"))
        seconds = optimum.seconds + (bounds.seconds or 0.0)
        bounds = Bounds(
            **asdict(bounds) | {"head_optimum": optimum.value, "agreement": optimum.agreement, "seconds": seconds}
        )
    _keep(memory, key, bounds)
    yield bounds


def with_sphere_bound(
    head: Head, target: Tensor, bounds: Bounds, on_progress: Callable[[float], object] = lambda fraction: None
) -> Bounds:
    """Add the sphere bound to the complete bounds of a target, and cache it with them.

    Args:
        head: the model's head.
        target: p, (V,) float64.
        bounds: the last ones of `solve_bounds`; if they have a sphere bound, they are returned.
        on_progress: receives the fraction done, many times; it may raise an error to stop.

    Raises:
        ModelError: the head is not linear in the state, or its final norm is not RMSNorm.
    """
    if bounds.sphere_bound is not None:
        return bounds
    found = _solve(solve_sphere_bound, head, target, on_progress=on_progress)
    bounds = replace(bounds, sphere_bound=found.bound, sphere_norm_ratio=found.inner_share)
    key = _key(head, target)
    _keep(paths.bounds_dir() / f"{key}.json", key, bounds)
    return bounds


def _keep(memory: Path, key: str, bounds: Bounds) -> None:
    with suppress(OSError):  # without a cache, they are computed again
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_json(memory, asdict(bounds) | {"sha256": _digest(key, asdict(bounds))})


def _solve(solver: Callable[..., Result], head: Head, *arguments: Any, **options: Any) -> Result:
    """Run a solver on the head's device, or on the CPU if memory is short there: a search needs it, too."""
    device = head.weight.device
    free = free_bytes(device) if device.type != "cpu" else None
    if free is None or free >= SPARE * solver_bytes(*head.weight.shape, on_cpu=False):
        try:
            with _own_stream(device):
                return solver(head, *arguments, **options)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
    return solver(head.to(torch.device("cpu")), *arguments, **options)


@contextmanager
def _own_stream(device: torch.device) -> Iterator[None]:
    """Run the work of this thread on a separate CUDA stream: a search on another one does not wait for it."""
    if device.type != "cuda":
        yield
        return
    stream, outer = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    stream.wait_stream(outer)
    with torch.cuda.stream(stream):
        yield
    stream.synchronize()  # results may be used on any stream


def _recall(memory: Path, key: str) -> Bounds | None:
    """Read cached bounds; None if there are none, or if they are damaged or belong to another key."""
    try:
        fields = read_json(memory)
        digest = fields.pop("sha256", None)
        return convert(with_new_names(fields), Bounds) if digest == _digest(key, fields) else None
    except (UsageError, ValueError):
        return None


def _digest(key: str, fields: dict[str, Any]) -> str:
    return hashlib.sha256(f"{key} {json.dumps(fields, sort_keys=True)}".encode()).hexdigest()


def _key(head: Head, target: Tensor) -> str:
    """Return the SHA-256 of all data that affects the bounds."""
    digest = _hash_of_weight(f"{CACHE_VERSION} {head.scale!r} {head.softcap!r}", head.weight)
    norm = head.norm
    parts = [head.bias, head.allowed, target]
    parts += [norm.gain, norm.bias] if norm else []
    for part in parts:
        _update(digest, part)
    digest.update((f"{norm.kind} {norm.dtype}" if norm else "none").encode())
    return digest.hexdigest()


def _hash_of_weight(start: str, weight: Tensor) -> hashlib._Hash:
    """Return a hash object after a text and the weight, which is read from its device once: it takes gigabytes."""
    known = _HASHED.get(weight)
    if known is None or known[:2] != (start, weight._version):
        digest = hashlib.sha256(start.encode())
        _update(digest, weight)
        known = _HASHED[weight] = (start, weight._version, digest)
    copied: hashlib._Hash = known[2].copy()
    return copied


def _update(digest: hashlib._Hash, part: Tensor | None) -> None:
    digest.update(b"-" if part is None else f"{part.dtype} {tuple(part.shape)}".encode())
    for rows in () if part is None else part.detach().split(HASHED_ROWS):
        digest.update(rows.cpu().contiguous().view(torch.uint8).numpy().data)
