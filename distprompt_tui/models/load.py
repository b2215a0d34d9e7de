"""Load a transformers model from safetensors or GGUF; incomplete files are an error."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from distprompt_tui.core.errors import ModelError, first_few, first_line
from distprompt_tui.models.checkpoint_checks import custom_code_type
from distprompt_tui.models.device import is_out_of_memory

NAMED = 4  # maximum number of missing weights named in an error message


def load_causal_model(
    failure: str, folder: Path, dtype: Any, gguf: str | None = None, device_map: Mapping[str, Any] | None = None
) -> Any:
    """Load a causal language model, on the CPU by default.

    transformers initialises missing weights randomly; here a missing weight is an error.

    Args:
        failure: start of the error message, such as "MODEL cannot be loaded from FOLDER".
        folder: holds config and safetensors, or a GGUF file.
        dtype: of the weights, a `torch.dtype`.
        gguf: name of the GGUF file in the folder; None for safetensors.
        device_map: device of each part by module name, as from `placement.device_map`; weights are read directly into
            the memory of their device.

    Returns:
        The model, in evaluation mode.

    Raises:
        ModelError: the files are damaged, of an unknown kind or incomplete.
        RuntimeError: the memory of a device of `device_map` is too small.
    """
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()  # missing weights raise an error below
    if gguf is None and (kind := custom_code_type(folder)) is not None and kind not in CONFIG_MAPPING:
        raise ModelError(
            f"{failure}: its type {kind!r} needs custom code, which is never run; "
            "only types that are part of transformers can be loaded"
        )
    where: dict[str, Any] = {"use_safetensors": True} if gguf is None else {"gguf_file": gguf}
    if device_map is not None:
        where["device_map"] = dict(device_map)
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=dtype,
            trust_remote_code=False,
            local_files_only=True,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **where,
        )
    except Exception as error:  # damaged files raise any error
        if device_map is not None and is_out_of_memory(error):
            raise
        raise ModelError(f"{failure}: {first_line(error)}") from error
    if wrong := [_shapes(*entry) for entry in sorted(found["mismatched_keys"])]:
        raise ModelError(f"{failure}: the weights do not have the shapes in its config: {first_few(wrong, NAMED)}")
    if missing := sorted(found["missing_keys"]):
        total = len(model.state_dict())
        raise ModelError(
            f"{failure}: {len(missing)} of its {total} weights are missing: {first_few(missing, NAMED)}. "
            f"The files are incomplete, or do not belong to a {type(model).__name__}"
        )
    return model.eval()


def _shapes(name: str, found: Collection[int], expected: Collection[int]) -> str:
    return f"{name} is {_times(found)} instead of {_times(expected)}"


def _times(shape: Collection[int]) -> str:
    return "×".join(map(str, shape)) or "a scalar"
