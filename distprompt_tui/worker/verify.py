"""A finished run's divergence measured anew: another load, plain transformers, none of the search's code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from msgspec import ValidationError, convert
from torch import Tensor

from distprompt_tui.errors import NotFoundError, UsageError
from distprompt_tui.models.load import load_causal_model
from distprompt_tui.models.tokenizer import load_callable_vocabulary
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.inputs import read_inputs, read_run_target
from distprompt_tui.runs.schema import read_result
from distprompt_tui.storage.decode import Count
from distprompt_tui.storage.prompt_files import read_prompt
from distprompt_tui.storage.safe_io import read_json
from distprompt_tui.worker.model_provider import prepare_as_recorded

AGREEMENT_NATS = 1e-4
"""Divergences of two computations in float32 that are this close count as the same."""

HALF_AGREEMENT_NATS = 0.1
"""The same, where the run computed in 16 bits: the fresh load computes in float32."""


@dataclass(frozen=True)
class Verification:
    """Divergences in nats.

    Attributes:
        kl: as the run reported it.
        kl_fresh: of the saved prompt (vectors or ids), measured by plain transformers in float32.
        kl_string: of the prompt's text in its context, as an ordinary call of the tokenizer gives it; None for a soft
            prompt.
        bos: what the run put before texts, where that is not what the model's tokenizer puts there.
        tolerance: nats by which they may differ.
    """

    kl: float
    kl_fresh: float
    kl_string: float | None
    bos: str | None = None
    tolerance: float = AGREEMENT_NATS

    @property
    def divergences(self) -> dict[str, float | None]:
        """All of them, by name."""
        return {"kl": self.kl, "kl_fresh": self.kl_fresh, "kl_string": self.kl_string}

    @property
    def differences(self) -> dict[str, float]:
        """What differs from the reported divergence, and by how much, nats."""
        compared = ("kl_fresh", "kl_string") if self.bos is None else ("kl_fresh",)
        found = self.divergences
        apart = {name: value - self.kl for name in compared if (value := found[name]) is not None}
        return {name: by for name, by in apart.items() if not abs(by) <= self.tolerance}

    @property
    def agrees(self) -> bool:
        """Whether all divergences are the same."""
        return not self.differences

    @property
    def result(self) -> str:
        """One line: whether they are the same, or which differ and by how much."""
        if self.agrees:
            same = f"verified: the same to {self.tolerance:g} nats"
            if self.bos is None or self.kl_string is None:
                return same
            return f"{same} with {self.bos}; kl_string is with what the model's tokenizer adds"
        told = " and ".join(f"{name} by {by:+.6f} nats" for name, by in self.differences.items())
        return f"not verified: {told} {'differs' if len(self.differences) == 1 else 'differ'} from the reported kl"


@torch.no_grad()
def verify(run: RunDirectory) -> Verification:
    """Load the run's model again and measure its best prompt.

    Raises:
        NotFoundError: the run has no result, or its model cannot be found.
        UsageError: the model, the target or the spec is another than the run was begun with.
    """
    if not run.has_result():
        raise NotFoundError(f"{run.name} has no result yet")
    inputs, spec = read_inputs(run), run.read_spec()
    target = torch.from_numpy(read_run_target(run, inputs).copy())
    folder = prepare_as_recorded(spec.model, lambda text, fraction: None, inputs.model if inputs else None)
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
    prompt = read_prompt(run.path)
    if not isinstance(prompt, list):
        vectors = torch.from_numpy(prompt)
        around = [embed(torch.tensor(ids, dtype=torch.long)) for ids in (before, after)]
        return Verification(
            kl, divergence(inputs_embeds=torch.cat([around[0], vectors, around[1]])), None, bos, tolerance
        )
    again = vocabulary.encode_alone(vocabulary.decode([*prefix, *prompt, *suffix]))
    by_ids, by_text = (divergence(input_ids=torch.tensor(ids)) for ids in ([*before, *prompt, *after], again))
    return Verification(kl, by_ids, by_text, bos, tolerance)


def _context_ids(run: RunDirectory) -> tuple[list[int], list[int]] | None:
    """The ids that stood before and after the prompt; None where the run recorded none.

    Raises:
        UsageError: they are damaged.
    """
    recorded = read_json(run.manifest).get("context_ids")
    if recorded is None:
        return None
    try:
        ids = convert(recorded, dict[str, list[Count]])
        return ids["before"], ids["after"]
    except (KeyError, ValidationError) as error:
        raise UsageError(f"{run.manifest} is damaged: context_ids holds no token ids") from error
