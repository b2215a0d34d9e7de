"""Runs in this process, to their end, and the divergence of prompts by transformers alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.runs.events import EventWriter
from distprompt_tui.worker.session import run_session


def finished_run(fields: dict[str, Any], runs_dir: Path) -> RunDirectory:
    """A run of the spec with these fields."""
    run = create_run(RunSpec.model_validate(fields), runs_dir)
    run_session(run, EventWriter(run.events))
    return run


def plain_kl(folder: Path, p: np.ndarray[Any, Any], **inputs: torch.Tensor) -> float:
    """KL(p‖q) in nats after inputs without a batch dimension, by the whole model in float64.

    Args:
        p: (V,); q is taken over the first V rows of the head.
        inputs: `input_ids`, (n,), or `inputs_embeds`, (n, d).
    """
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64)
    with torch.no_grad():
        logits = model(**{name: value[None] for name, value in inputs.items()}).logits[0, -1]
    log_q = logits[: len(p)].log_softmax(-1).numpy()
    inside = p > 0
    return float((p[inside] * (np.log(p[inside]) - log_q[inside])).sum())
