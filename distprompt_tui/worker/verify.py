"""Verify a run's divergence with a freshly loaded plain transformers model, without any code of the search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from msgspec import ValidationError, convert
from torch import Tensor

from distprompt_tui.bounds.cache import solve_bounds
from distprompt_tui.core.errors import ModelError, NotFoundError, UsageError
from distprompt_tui.core.storage.decode import Count
from distprompt_tui.core.storage.prompt_files import read_prompt
from distprompt_tui.core.storage.safe_io import read_json
from distprompt_tui.models.load import load_causal_model
from distprompt_tui.models.prepare import ignore_progress
from distprompt_tui.models.tokenizer import load_callable_vocabulary
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.models.wrap import from_hf
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.inputs import read_inputs, read_run_target
from distprompt_tui.runs.schema import Result, read_result
from distprompt_tui.worker.model_provider import prepare_as_recorded

AGREEMENT_NATS = 1e-4  # tolerance between two computations in float32
HALF_AGREEMENT_NATS = 0.1  # tolerance if the run used 16 bits: the fresh model uses float32


@dataclass(frozen=True)
class Verification:
    """Divergences and floors in nats. A divergence is compared with the floor for the dtype that it was computed in."""

    kl: float  # as reported by the run
    kl_fresh: float  # of the saved prompt (vectors or ids), measured by plain transformers in float32
    kl_string: float | None  # of a hard prompt's text in its context, tokenized by a plain tokenizer call
    bos: str | None = None  # description of the run's BOS token if it differs from the tokenizer's default
    tolerance: float = AGREEMENT_NATS
    floor: float | None = None  # as reported by the run, for states in `floor_dtype`
    floor_dtype: str | None = None  # None in runs of earlier versions, whose floors are of exact arithmetic
    floor_fresh: float | None = None  # for the fresh model in float32; None if its head has no floor

    @property
    def divergences(self) -> dict[str, float | None]:
        return {"kl": self.kl, "kl_fresh": self.kl_fresh, "kl_string": self.kl_string}

    @property
    def differences(self) -> dict[str, float]:
        """Differences from the reported divergence above the tolerance, nats."""
        compared = ("kl_fresh", "kl_string") if self.bos is None else ("kl_fresh",)
        found = self.divergences
        apart = {name: value - self.kl for name in compared if (value := found[name]) is not None}
        return {name: by for name, by in apart.items() if not abs(by) <= self.tolerance}

    @property
    def below_floor(self) -> list[str]:
        """Names of the divergences below the floor for their dtype."""
        floors = {"kl": self.floor if self.floor_dtype else None, "kl_fresh": self.floor_fresh}
        found = self.divergences
        return [
            name
            for name, floor in floors.items()
            if floor is not None and (value := found[name]) is not None and value < floor
        ]

    @property
    def agrees(self) -> bool:
        return not self.differences and not self.below_floor

    @property
    def result(self) -> str:
        if self.agrees:
            same = f"verified: equal within {self.tolerance:g} nats"
            if self.bos is None or self.kl_string is None:
                return same
            return f"{same} with {self.bos}; kl_string uses the special tokens that the tokenizer adds"
        if self.below_floor:
            return f"not verified: {' and '.join(self.below_floor)} below the floor for the same dtype"
        differences = " and ".join(f"{name} by {by:+.6f} nats" for name, by in self.differences.items())
        return (
            f"not verified: {differences} {'differs' if len(self.differences) == 1 else 'differ'} from the reported kl"
        )


@torch.no_grad()
def verify(run: RunDirectory) -> Verification:
    """Load the run's model again and measure its best prompt.

    Raises:
        NotFoundError: the run has no result, or its model is missing.
        UsageError: the model, the target or the spec has changed.
    """
    if not run.has_result():
        raise NotFoundError(f"{run.name} has no result yet")
    inputs, spec = read_inputs(run), run.read_spec()
    target = torch.from_numpy(read_run_target(run, inputs).copy())
    folder = prepare_as_recorded(spec.model, ignore_progress, inputs.model if inputs else None)
    model = load_causal_model(f"{spec.model.name} cannot be loaded from {folder}", folder, torch.float32)
    embed = model.get_input_embeddings()
    vocabulary = load_callable_vocabulary(folder, len(model.get_output_embeddings().weight))
    prefix = vocabulary.encode(spec.context.prefix)
    suffix = vocabulary.encode(spec.context.suffix, continues=True)
    before, after = _context_ids(run) or (prefix, suffix)
    if len(target) != vocabulary.size:
        raise UsageError(f"{run.target} is over {len(target):,} tokens, the model has {vocabulary.size:,}")

    def divergence(**inputs: Tensor) -> float:
        whole = {name: value[None] for name, value in inputs.items()}
        logits = model(**whole, use_cache=False).logits[0, -1].double()
        logits[torch.from_numpy(~vocabulary.allowed)] = -torch.inf
        log_q = logits.log_softmax(-1)
        inside = target > 0
        return float((target[inside] * (target[inside].log() - log_q[inside])).sum())

    result = read_result(read_json(run.result))
    bos, kl = result.bos, result.kl
    tolerance = AGREEMENT_NATS if read_json(run.manifest).get("dtype") == "float32" else HALF_AGREEMENT_NATS
    if kl is None:
        raise UsageError(f"{run.result} has no divergence")
    floors = _floors(result, model, vocabulary, target)
    prompt = read_prompt(run.path)
    if not isinstance(prompt, list):
        vectors = torch.from_numpy(prompt)
        around = [embed(torch.tensor(ids, dtype=torch.long)) for ids in (before, after)]
        fresh = divergence(inputs_embeds=torch.cat([around[0], vectors, around[1]]))
        return Verification(kl, fresh, None, bos, tolerance, *floors)
    again = vocabulary.encode_alone(vocabulary.decode([*prefix, *prompt, *suffix]))
    by_ids, by_text = (divergence(input_ids=torch.tensor(ids)) for ids in ([*before, *prompt, *after], again))
    return Verification(kl, by_ids, by_text, bos, tolerance, *floors)


def _floors(result: Result, model: Any, vocabulary: Vocabulary, target: Tensor) -> tuple[Any, ...]:
    """Return the run's floor, its dtype, and the floor of the fresh model in float32."""
    if result.floor_dtype == "float32":
        return result.floor, result.floor_dtype, result.floor
    try:
        head = from_hf(str(result.model), model.requires_grad_(False), vocabulary).head
    except ModelError:
        return result.floor, result.floor_dtype, None
    fresh = None if head.why_no_floor else next(iter(solve_bounds(head, target))).floor
    return result.floor, result.floor_dtype, fresh


def _context_ids(run: RunDirectory) -> tuple[list[int], list[int]] | None:
    """Return the recorded ids before and after the prompt; None if the run did not record them."""
    recorded = read_json(run.manifest).get("context_ids")
    if recorded is None:
        return None
    try:
        ids = convert(recorded, dict[str, list[Count]])
        return ids["before"], ids["after"]
    except (KeyError, ValidationError) as error:
        raise UsageError(f"{run.manifest} is damaged: context_ids contains no token ids") from error
