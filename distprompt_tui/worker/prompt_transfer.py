"""Measure a found prompt under other conditions: in another dtype, on another model, within a chat template."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from distprompt_tui.core.config.dtypes import Dtype
from distprompt_tui.core.config.spec import ModelSpec, RunSpec
from distprompt_tui.core.errors import DistPromptError, NotFoundError, UsageError
from distprompt_tui.core.metrics.divergence import compare
from distprompt_tui.core.storage.prompt_files import read_prompt
from distprompt_tui.core.storage.safe_io import read_json
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prepare import OnProgress
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.models.wrap import load_language_model
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.inputs import read_inputs, read_run_target
from distprompt_tui.runs.schema import read_result
from distprompt_tui.targets.transfer import transfer
from distprompt_tui.worker.model_provider import prepare_as_recorded

_MARKER = "distprompt-7f3a"  # replaces the prompt in a chat template; templates may strip white space around it

Context = Literal["as searched", "chat"]
Carrier = Literal["ids", "text", "vectors"]

Prompt = NDArray[np.float32] | list[int]

DTYPES: tuple[Dtype, ...] = ("float32", "bfloat16")


@dataclass(frozen=True)
class TransferResult:
    """The divergence of a run's best prompt from the run's target in one condition.

    Attributes:
        model: name of the model.
        dtype: that it computes in.
        context: the run's context, or one user message in the model's chat template.
        carrier: how the prompt is given; None if it cannot be.
        kl: nats; None if it cannot be measured.
        note: why there is no divergence, or how much of the target another vocabulary lost.
    """

    model: str
    dtype: str
    context: Context
    carrier: Carrier | None = None
    kl: float | None = None
    note: str = ""


@dataclass(frozen=True, eq=False)
class _Found:
    """A run's best prompt, its target, (V,), and the vocabulary of both."""

    prompt: Prompt
    target: NDArray[np.float64]
    vocabulary: Vocabulary


def transfer_prompt(
    run: RunDirectory, others: Sequence[str], dtypes: Sequence[Dtype], report: OnProgress
) -> tuple[float, Iterator[TransferResult]]:
    """Measure the best prompt of a run on its own model and on others, each in its context and in a chat template.

    Token ids are used on models with the run's vocabulary. On others, the prompt is its text, tokenized by their
    tokenizer, and the target is transferred by the bytes of tokens.

    Args:
        run: with a result.
        others: names of other models.
        dtypes: that each model is loaded in.
        report: of the preparation of models.

    Returns:
        The divergence that the run reported, nats, and the results in the order of models and dtypes.

    Raises:
        NotFoundError: the run has no result, or a model is missing.
        UsageError: the model, the target or the spec of the run has changed.
    """
    if not run.has_result():
        raise NotFoundError(f"{run.name} has no result yet")
    inputs, spec = read_inputs(run), run.read_spec()
    target, prompt = read_run_target(run, inputs), read_prompt(run.path)
    kl = read_result(read_json(run.result)).kl
    if kl is None:
        raise UsageError(f"{run.result} has no divergence")
    own = prepare_as_recorded(spec.model, report, inputs.model if inputs else None)
    folders = {spec.model.name: own}
    for name in others:
        folders[name] = prepare_as_recorded(ModelSpec(name=name), report, None)
    return kl, _results(spec, prompt, target, folders, dtypes)


def _results(
    spec: RunSpec, prompt: Prompt, target: NDArray[np.float64], folders: dict[str, Path], dtypes: Sequence[Dtype]
) -> Iterator[TransferResult]:
    found: _Found | None = None
    for name, folder in folders.items():
        chat = chat_context(folder)
        for dtype in dtypes:
            model = load_language_model(name, folder, spec.model.device, dtype)
            if found is None:
                if len(target) != model.vocabulary.size:
                    raise UsageError(f"the target has {len(target):,} tokens, {name} has {model.vocabulary.size:,}")
                found = _Found(prompt, target, model.vocabulary)
            as_searched = model.in_context(spec.context.prefix, spec.context.suffix, spec.context.bos)
            yield _measured(as_searched, found, dtype, "as searched")
            if chat is not None:
                yield _measured(model.in_context(*chat, False), found, dtype, "chat")


def chat_context(folder: Path) -> tuple[str, str] | None:
    """Return the text before and after one user message in a model's chat template; None without a usable template.

    The text contains the special tokens, BOS included.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if not tokenizer.chat_template:
            return None
        messages = [{"role": "user", "content": _MARKER}]
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception:  # transformers and templates raise any error
        return None
    before, marker, after = str(text).partition(_MARKER)
    return (before, after) if marker and _MARKER not in after else None


def _measured(model: LanguageModel, found: _Found, dtype: str, context: Context) -> TransferResult:
    name = model.name
    try:
        carrier, prompt, target, note = _carried(model, found)
        model.check_length(len(prompt))
        with torch.no_grad():
            logits = model.next_token_logits(prompt[None].to(model.device))[0]
    except DistPromptError as error:
        return TransferResult(name, dtype, context, note=str(error))
    kl = compare(torch.from_numpy(target), logits).numbers.kl
    if not math.isfinite(kl):
        return TransferResult(name, dtype, context, carrier, note="the divergence is not finite")
    return TransferResult(name, dtype, context, carrier, kl, note)


def _carried(model: LanguageModel, found: _Found) -> tuple[Carrier, torch.Tensor, NDArray[np.float64], str]:
    """Return how a prompt is given to a model, the prompt, (n,) or (n, d), the target over its tokens, and a note.

    Raises:
        DistPromptError: the model cannot take the prompt or the target.
    """
    is_same = _same_tokens(model.vocabulary, found.vocabulary)
    target, note = found.target, ""
    if is_same:
        target = _resized(target, model.vocabulary.size)
    else:
        moved = transfer(target, found.vocabulary, model.vocabulary)
        target = moved.probabilities
        note = f"target transferred by bytes: {moved.matched:.3f} matched, {moved.lost:.3f} lost"
    if isinstance(found.prompt, np.ndarray):
        width = found.prompt.shape[1]
        if width != model.hidden_size:
            raise UsageError(f"the vectors have width {width}, {model.name} needs {model.hidden_size}")
        model.check_takes_vectors("a soft prompt")
        return "vectors", torch.from_numpy(found.prompt), target, note
    if is_same:
        return "ids", torch.tensor(found.prompt), target, note
    ids = model.encode_prompt(found.vocabulary.decode(found.prompt))
    if not ids:
        raise UsageError(f"the prompt has no tokens in {model.name}")
    return "text", torch.tensor(ids), target, note


def _same_tokens(one: Vocabulary, other: Vocabulary) -> bool:
    """Return whether two vocabularies have the same token of each id; their heads may have other padding rows."""
    tokens, others = (each.tokenizer.get_vocab(with_added_tokens=True) for each in (one, other))
    return dict(tokens) == dict(others)


def _resized(target: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Cut or pad a distribution to the rows of another head with the same tokens, (size,)."""
    if size == len(target):
        return target
    resized = np.zeros(size)
    kept = min(size, len(target))
    resized[:kept] = target[:kept]
    return resized
