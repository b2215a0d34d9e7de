"""Estimates of the time and memory of a search before it starts."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from distprompt_tui.config.device_widths import widths_for
from distprompt_tui.errors import DistPromptError

if TYPE_CHECKING:
    from distprompt_tui.config.spec import RunSpec
    from distprompt_tui.runs.summary import RunLabel, RunSummary

PROGRAM_BYTES = 450 << 20  # Python, torch and transformers without a model (measured on Linux)
MAX_BATCH_LOGITS = 1 << 25  # a search over tokens divides larger batches (`search.prompt_runner.MAX_LOGITS`)
SOFT_COPIES, HARD_COPIES = 4, 2  # logits and probabilities, for soft prompts also their gradients
BOUND_BYTES_PER_TOKEN = 8 * 8 * 6  # 8 starts of the head optimum in float64, in about 6 arrays


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
    is_half = spec.model.dtype in ("bfloat16", "float16") or (spec.model.dtype == "auto" and device.startswith("cuda"))
    weights = parameters * (2 if is_half else 4)
    if getattr(search, "draft", False) and not is_half and not device.startswith("cuda"):
        weights += parameters * 2
    rows, copies = getattr(search, "restarts", 0), SOFT_COPIES
    if not rows:
        rows, copies = _candidates(search, parameters, device), HARD_COPIES
        if getattr(search, "fluency_weight", 0.0):
            rows *= 1 + search.length
    logits = min(rows * vocab_size, max(MAX_BATCH_LOGITS, vocab_size)) * 4 * copies
    return PROGRAM_BYTES + weights + logits + vocab_size * BOUND_BYTES_PER_TOKEN


def _candidates(search: Any, parameters: int, device: str) -> int:
    """Return the number of candidates in a step of a search over tokens."""
    if search.method != "hard":
        return int(search.width)
    widths = widths_for(device.partition(":")[0], parameters, search.width, search.chains)
    return widths.width * widths.chains


def needed_memory(spec: RunSpec) -> int | None:
    """Return `memory_bytes` of a search on the CPU; None if the model's size is unknown."""
    from distprompt_tui.models.registry import find_model

    try:
        model = find_model(spec.model.name)
    except DistPromptError:
        return None
    if model.parameters is None or model.vocab_size is None:
        return None
    return memory_bytes(spec, model.parameters, model.vocab_size, "cpu")
