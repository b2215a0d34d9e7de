"""Estimates of the time and memory of a search before it starts."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distprompt_tui.bounds.memory import ARRAYS_OF_LOGITS, STARTS, solver_bytes
from distprompt_tui.core.config.device_widths import MAX_LOGITS, widths_for
from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.models.model_shape import ModelShape, read_shape

if TYPE_CHECKING:
    from distprompt_tui.core.config.spec import RunSpec
    from distprompt_tui.models.registry import ModelEntry
    from distprompt_tui.runs.summary import RunLabel, RunSummary

PROGRAM_BYTES = 450 << 20  # Python, torch and transformers without a model (measured on Linux)
SOFT_COPIES, HARD_COPIES = 4, 2  # logits and probabilities, for soft prompts also their gradients

_FLOAT32, _HALF = 4, 2  # bytes
_COPIES = 4  # arrays of a batch's logits: logits, shifted ones, and the products and exponentials that are summed
MIN_ROWS = 4  # the head pads smaller batches (`models.head.MIN_GEMM_ROWS`)
TEST_ROWS = 42  # logits of the prompts that test a model at loading, in rows
_HIDDEN_ARRAYS, _INNER_ARRAYS = 16, 4
"""Activations of a position in one block: arrays of width d and of the feed-forward width (read in Llama's layers)."""

BOUND_BYTES_PER_TOKEN = 8 * STARTS * ARRAYS_OF_LOGITS  # float64


def seconds_per_step(runs: Iterable[RunSummary], label: RunLabel, device: str) -> float | None:
    """Return the seconds per step of the latest comparable run; None without one.

    Args:
        runs: the known runs.
        label: model, method and length that a run must share.
        device: "cuda" includes "cuda:0"; "" and "auto" include every device. Runs of other machines are not comparable.
    """
    wanted, host = "" if device == "auto" else device, socket.gethostname()
    for summary in sorted(runs, key=lambda summary: -summary.changed_at):
        title = summary.title
        if (
            (title.model, title.method, title.length) == (label.model, label.method, label.length)
            and summary.host == host
            and summary.device.startswith(wanted)
            and summary.seconds_per_step is not None
        ):
            return summary.seconds_per_step
    return None


@dataclass(frozen=True)
class MemoryEstimate:
    """Peak memory of a search by part, in bytes.

    Attributes:
        program: Python, torch and transformers, if they share the memory with the model (on the CPU).
        weights: the model, with the copies of its weights.
        search: the larger of the tests at loading and a step.
        bounds: floor and head optimum, which run beside the search.
    """

    program: int
    weights: int
    search: int
    bounds: int

    @property
    def total(self) -> int:
        return self.program + self.weights + self.search + self.bounds


def memory_estimate(
    spec: RunSpec, shape: ModelShape, device: str, bytes_per_value: int, around: int = 0
) -> MemoryEstimate:
    """Estimate the peak memory of a search on a model of known shape.

    The parts of `search` are logits in float32 (`_COPIES` arrays for each row of a batch), keys and values of a batch,
    activations of a block, those of all blocks where there is a backward pass, token features of the method `hard`, and
    the gradients that the optimiser of soft prompts keeps.

    Args:
        spec: the search.
        shape: of the model.
        device: such as "cpu" or "cuda:0".
        bytes_per_value: of the dtype that the model runs in.
        around: tokens of the context around the prompt.
    """
    on_cpu, search, vocabulary = device == "cpu", spec.search, shape.vocab_size * shape.hidden_size
    weights = shape.parameters * bytes_per_value
    if on_cpu and bytes_per_value == _HALF:
        weights += vocabulary * _FLOAT32 * (1 if shape.is_tied else 2)
    if on_cpu and bytes_per_value == _FLOAT32 and getattr(search, "draft", False):
        weights += (shape.parameters - vocabulary) * _HALF
    positions = search.length + around
    of_position = bytes_per_value * (_HIDDEN_ARRAYS * shape.hidden_size + _INNER_ARRAYS * shape.intermediate_size)
    if search.method == "soft":
        rows = max(search.restarts, MIN_ROWS)
        step = (_COPIES * rows + 2 * search.restarts) * shape.vocab_size * _FLOAT32
        gradients = (search.memory if search.optimizer == "ggt" else 2) * search.length * shape.hidden_size * _FLOAT32
        step += search.restarts * (gradients + max(positions * shape.layers * of_position, gradients))
    else:
        rows, features = _candidates(search, shape.parameters, device), 0
        if search.method == "hard":
            rows = max(round(rows * (search.length + 1) / 2), search.initial_pool)  # most at the last position
            features = vocabulary * _HALF * (1 if bytes_per_value == _HALF else 3)
        of_row = 1 + search.length if getattr(search, "fluency_weight", 0.0) else 1
        rows = max(1, min(rows, MAX_LOGITS // (of_row * shape.vocab_size)))
        keys = rows * positions * shape.layers * shape.kv_size * bytes_per_value
        batch = rows * of_row * shape.vocab_size * _FLOAT32 * _COPIES + keys + rows * of_position
        step = max(features, min(features, vocabulary * _HALF) + batch)
        if search.method in ("gcg", "hotflip"):
            step = max(step, _COPIES * search.length * shape.vocab_size * _FLOAT32)  # scores of all swaps
    tests = TEST_ROWS * shape.vocab_size * _FLOAT32
    return MemoryEstimate(
        program=PROGRAM_BYTES if on_cpu else 0,
        weights=weights,
        search=max(step, tests),
        bounds=solver_bytes(shape.vocab_size, shape.hidden_size, on_cpu=on_cpu),
    )


def memory_bytes(spec: RunSpec, parameters: int, vocab_size: int, device: str) -> int:
    """Estimate the peak memory of a search, in bytes.

    The estimate is the sum of

    - the program, 450 MiB;
    - the weights: parameters × 4 bytes in float32, × 2 bytes in bfloat16 and float16. A `hard` search with a draft on
      the CPU has a second copy in bfloat16;
    - the logits of a batch: rows × V × 4 bytes × copies. Soft prompts have a row for each restart and 4 copies (logits,
      probabilities and their gradients), searches over tokens have `width` rows for each chain and 2 copies;
    - the bounds: 8 starts × V × 8 bytes × 6 arrays.

    Activations are left out: for prompts of tens of tokens, they are much smaller than the weights.

    Args:
        spec: the search, with its dtype.
        parameters: number of the model's parameters.
        vocab_size: V.
        device: of the search, such as "cpu" or "cuda:0"; on CUDA the dtype "auto" is bfloat16.
    """
    search = spec.search
    bytes_per_value = _bytes_per_value(spec, device)
    weights = parameters * bytes_per_value
    if getattr(search, "draft", False) and bytes_per_value == _FLOAT32 and not device.startswith("cuda"):
        weights += parameters * 2
    rows, copies = getattr(search, "restarts", 0), SOFT_COPIES
    if not rows:
        rows, copies = _candidates(search, parameters, device), HARD_COPIES
        if getattr(search, "fluency_weight", 0.0):
            rows *= 1 + search.length
    logits = min(rows * vocab_size, max(MAX_LOGITS, vocab_size)) * 4 * copies
    return PROGRAM_BYTES + weights + logits + vocab_size * BOUND_BYTES_PER_TOKEN


def _candidates(search: Any, parameters: int, device: str) -> int:
    """Return the number of candidates in a step of a search over tokens."""
    if search.method != "hard":
        return int(search.width)
    widths = widths_for(device.partition(":")[0], parameters, search.width, search.chains)
    return widths.width * widths.chains


def memory_of(spec: RunSpec, model: ModelEntry, device: str) -> int | None:
    """Estimate the peak memory of a search from the model's files, or from its size if it is not prepared, in bytes.

    Args:
        spec: the search.
        model: from the registry.
        device: of the search, such as "cpu" or "cuda:0". On an accelerator, the estimate is for its memory.

    Returns:
        The estimate; None if the model's size is unknown.
    """
    try:
        shape = None if model.folder is None else read_shape(model.folder)
    except DistPromptError:
        shape = None
    if shape is not None:
        return memory_estimate(spec, shape, device or "cpu", _bytes_per_value(spec, device)).total
    if model.parameters is None or model.vocab_size is None:
        return None
    return memory_bytes(spec, model.parameters, model.vocab_size, device)


def _bytes_per_value(spec: RunSpec, device: str) -> int:
    """Return the size of a value in the dtype that a model runs in; "auto" is bfloat16 on CUDA."""
    is_half = spec.model.dtype in ("bfloat16", "float16") or (spec.model.dtype == "auto" and device.startswith("cuda"))
    return _HALF if is_half else _FLOAT32


def needed_memory(spec: RunSpec) -> int | None:
    """Return the estimate for a search on the CPU; None if the model's size is unknown."""
    from distprompt_tui.models.registry import find_model

    try:
        return memory_of(spec, find_model(spec.model.name), "cpu")
    except DistPromptError:
        return None
