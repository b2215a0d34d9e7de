"""A finished run's divergence measured anew: another load, plain transformers, none of the search's code."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distprompt_tui.arrays import read_target
from distprompt_tui.errors import NotFoundError, UsageError
from distprompt_tui.fields import field, items, number, whole
from distprompt_tui.files import read_json
from distprompt_tui.models.prepare import prepare_by_name
from distprompt_tui.models.tokenizer import load_callable_vocabulary
from distprompt_tui.prompts import read_prompt
from distprompt_tui.runs.directory import RunDirectory


@dataclass(frozen=True)
class Verification:
    """Divergences in nats.

    Attributes:
        kl: as the run reported it.
        kl_fresh: of the saved prompt (vectors or ids), measured by plain transformers in float32.
        kl_string: of the prompt's text in its context, as an ordinary call of the tokenizer gives it; None for a soft
            prompt.
    """

    kl: float
    kl_fresh: float
    kl_string: float | None


@torch.no_grad()
def verify(run: RunDirectory) -> Verification:
    """Load the run's model again and measure its best prompt.

    Raises:
        NotFoundError: the run has no result, or its model cannot be found.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    if not run.result.is_file():
        raise NotFoundError(f"{run.name} has no result yet")
    spec = run.read_spec()
    folder = prepare_by_name(spec.model.name, lambda text, fraction: None, spec.model.revision)
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, use_safetensors=True, trust_remote_code=False, local_files_only=True
    ).eval()
    embed = model.get_input_embeddings()
    vocabulary = load_callable_vocabulary(folder, embed.weight.shape[0])
    prefix = vocabulary.encode(spec.context.prefix)
    suffix = vocabulary.encode(spec.context.suffix, continues=True)
    before, after = _context_ids(run) or (prefix, suffix)
    target = torch.from_numpy(read_target(run.target))

    def divergence(embeds: Tensor) -> float:
        logits = model(inputs_embeds=embeds[None]).logits[0, -1].double()
        logits[torch.from_numpy(~vocabulary.allowed)] = -torch.inf
        log_q = logits.log_softmax(-1)
        inside = target > 0
        return float((target[inside] * (target[inside].log() - log_q[inside])).sum())

    if (kl := field(number, read_json(run.result), "kl")) is None:
        raise UsageError(f"{run.result} has no divergence")
    prompt = read_prompt(run.path)
    if not isinstance(prompt, list):
        vectors = torch.from_numpy(prompt)
        around = [embed(torch.tensor(text_ids, dtype=torch.long)) for text_ids in (before, after)]
        return Verification(kl, divergence(torch.cat([around[0], vectors, around[1]])), None)
    again = vocabulary.encode_alone(vocabulary.decode([*prefix, *prompt, *suffix]))
    by_ids, by_text = (divergence(embed(torch.tensor(ids))) for ids in ([*before, *prompt, *after], again))
    return Verification(kl, by_ids, by_text)


def _context_ids(run: RunDirectory) -> tuple[list[int], list[int]] | None:
    """The ids that stood before and after the prompt; None where the run recorded none.

    Raises:
        UsageError: they are damaged.
    """
    recorded = read_json(run.manifest).get("context_ids")
    if recorded is None:
        return None
    try:
        return [whole(i) for i in items(recorded["before"])], [whole(i) for i in items(recorded["after"])]
    except (TypeError, KeyError, ValueError) as error:
        raise UsageError(f"{run.manifest} is damaged: context_ids holds no token ids") from error
