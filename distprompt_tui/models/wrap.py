"""Load a model and wrap it in a `LanguageModel`; the parts of the wrapper are compared with the whole model."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from distprompt_tui.core.errors import ModelError, first_line
from distprompt_tui.models.device import choose_device, choose_dtype, is_out_of_memory, out_of_memory_as
from distprompt_tui.models.forward import Forward, forward_without_waiting, run_plain
from distprompt_tui.models.head import TOLERANCES, relative_difference, take_apart
from distprompt_tui.models.language_model import LanguageModel, running_dtype
from distprompt_tui.models.large_matrix import held
from distprompt_tui.models.load import load_causal_model
from distprompt_tui.models.placement import device_map, devices_for
from distprompt_tui.models.tokenizer import load_callable_vocabulary
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.models.weights import read_weights

LONGEST_REASON = 160  # maximum characters of another library's error message in ours

PROBE_PROMPTS, PROBE_LENGTH = 4, 8  # number and length of the random prompts that test a model when it is loaded


def load_language_model(name: str, folder: Path, device: str = "auto", dtype: str = "auto") -> LanguageModel:
    """Load a prepared model for inference.

    Args:
        name: the model's name in the spec.
        folder: holds config, safetensors and tokenizer.
        device: "auto", a torch device ("cuda", "cuda:1", "mps", "cpu"), or several of one type ("cuda:0,cuda:1"),
            over which the layers are divided.
        dtype: "auto" (bfloat16 on CUDA, float32 elsewhere), "float32", "bfloat16" or "float16".

    Raises:
        ModelError: the device does not exist, or the folder cannot be loaded.
    """
    place = choose_device(device)
    failure, of_weights = f"{name} cannot be loaded from {folder}", choose_dtype(dtype, place)
    places = devices_for(folder, device, place, of_weights)
    with out_of_memory_as(f"{name} does not fit into the memory of {', '.join(map(str, places))}"):
        parts = None if place.type == "cpu" else device_map(folder, of_weights, places)
        model = load_causal_model(failure, folder, of_weights, device_map=parts)
        output = model.get_output_embeddings()
        if not isinstance(getattr(output, "weight", None), Tensor):
            kind = type(model).__name__
            raise ModelError(f"{name} has no linear output layer: {kind} is not a causal language model")
        vocabulary = load_callable_vocabulary(folder, len(output.weight))
        wrapped = from_hf(name, model.requires_grad_(False), vocabulary)
    return replace(wrapped, weights=read_weights(folder).label)


@torch.no_grad()
def from_hf(name: str, model: Any, vocabulary: Vocabulary) -> LanguageModel:
    """Wrap a transformers causal language model that is in memory, with its tokenizer's default context.

    Args:
        name: the model's name.
        model: on its device, in its dtype, with `requires_grad` off.
        vocabulary: of its tokenizer; `size` is the number of rows of the head.

    Raises:
        ModelError: the model does not run, or its output layer is of an unknown kind.
    """
    embedder, output = model.get_input_embeddings(), model.get_output_embeddings()
    allowed = torch.from_numpy(vocabulary.allowed).to(output.weight.device)
    if (rows := _num_embeddings(embedder)) < vocabulary.size:
        raise ModelError(f"{name} embeds {rows:,} tokens, but its output layer has {vocabulary.size:,}")
    max_length = max_length_of(model.config.get_text_config())
    ordinary = vocabulary.allowed.copy()
    ordinary[list(vocabulary.special_ids)] = False
    if not ordinary.any():
        raise ModelError(f"the tokenizer of {name} has only special tokens")
    ids = np.random.default_rng(0).choice(ordinary.nonzero()[0], (PROBE_PROMPTS, min(PROBE_LENGTH, max_length)))
    probe = torch.from_numpy(ids).to(model.device)
    parts = take_apart(model, allowed, probe)
    is_tied = embedder.weight is output.weight
    matrix = _embedding_matrix(embedder, parts.head.weight if is_tied else None)[: vocabulary.size]
    _refuse_nonfinite(name, matrix, allowed)
    why_ids_only = _why_ids_only(name, parts.backbone, probe, matrix[probe].float(), parts.hidden)
    forward: Forward = run_plain
    if why_ids_only is None and matrix.device.type != "cpu":
        forward = forward_without_waiting(parts.backbone, matrix[probe].to(running_dtype(parts.backbone)))
    return LanguageModel(
        name=name,
        backbone=parts.backbone,
        embedder=embedder,
        head=parts.head,
        embedding_matrix=matrix,
        vocabulary=vocabulary,
        max_length=max_length,
        why_ids_only=why_ids_only,
        forward=forward,
    ).in_context("", "")


def _refuse_nonfinite(name: str, embeddings: Tensor, allowed: Tensor) -> None:
    """Raise a ModelError if the embedding of a token, a row of (V, d), is not finite; `allowed` is (V,), bool."""
    if math.isfinite(embeddings.sum().item()):
        return
    finite = embeddings.isfinite().all(1).to(allowed.device)  # rows without a token do not matter
    if count := int((allowed & ~finite).sum()):
        one = int((allowed & ~finite).nonzero()[0])
        tokens = "the embedding of a token is" if count == 1 else f"the embeddings of {count:,} tokens are"
        dtype = str(embeddings.dtype).removeprefix("torch.")
        why = f"its weights are damaged, or exceed the range of {dtype}"
        raise ModelError(f"{name}: {tokens} NaN or infinite, such as that of id {one}: {why}")


def _why_ids_only(name: str, backbone: nn.Module, ids: Tensor, embeddings: Tensor, hidden: Tensor) -> str | None:
    """Return the reason why a backbone cannot run on embeddings, (batch, n, d); None if it can.

    `hidden`, (batch, n, d), are the backbone's states for the ids, (batch, n), within the model.

    Raises:
        ModelError: the backbone gives other states alone than within the model.
    """
    dtype = running_dtype(backbone)

    def trouble(expected: Tensor | None, **inputs: Tensor) -> str | None:
        try:
            found: Tensor = backbone(**inputs, use_cache=False).last_hidden_state
        except Exception as error:  # model code may raise anything on unexpected inputs
            if is_out_of_memory(error):
                raise
            return first_line(error)
        if expected is None:
            return None
        off = relative_difference(found, expected) if found.shape == expected.shape else torch.inf
        return None if off <= TOLERANCES[dtype] else f"the last states have a relative error of {off:.2g}"

    why = trouble(hidden, inputs_embeds=embeddings.to(dtype, copy=True))
    if why is None:
        # Some backbones look up ids by their embeddings, and fail on vectors that belong to no token.
        between = (embeddings + embeddings.roll(1, 0)) / 2
        why = trouble(None, inputs_embeds=between.to(dtype))
    if why is None:
        return None
    if (alone := trouble(hidden, input_ids=ids)) is not None:
        raise ModelError(f"the backbone of {name} cannot run alone: {alone}")
    return f"without token ids: {shorten(why, LONGEST_REASON)}"


def max_length_of(config: Any) -> int:
    """Return the longest input in tokens, 2²⁰ if the config sets no limit."""
    lengths = (getattr(config, field, None) for field in ("max_position_embeddings", "max_target_positions"))
    return next((length for length in lengths if isinstance(length, int) and length > 0), 1 << 20)


def _num_embeddings(layer: Any) -> int:
    """Return the number of ids that a layer embeds; the weight of a quantised one may be packed."""
    return int(getattr(layer, "num_embeddings", None) or len(layer.weight))


def _embedding_matrix(layer: Any, tied: Tensor | None) -> Tensor:
    """Compute the input embedding of each id, (rows, d), by the module, because some modules scale or unpack.

    `tied` is the head's weight as it is held, if the model ties it to the layer's; it is returned where it holds the
    embeddings.
    """
    weight = layer.weight
    ids = torch.arange(_num_embeddings(layer), device=weight.device)
    first = layer(ids[:64])
    if first.dtype == weight.dtype and torch.equal(first, weight[:64]):
        return held(weight) if tied is None else tied
    return held(layer(ids))
