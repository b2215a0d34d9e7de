"""A task from its specs to its rows. Every executor's workers do it by this code, so that all give the same numbers."""

from __future__ import annotations

import math
import resource
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from msgspec import to_builtins
from torch import Tensor

from distprompt_tui import __version__
from distprompt_tui.bounds.cache import solve_bounds
from distprompt_tui.bounds.values import Bounds
from distprompt_tui.config.spec import Model, Soft
from distprompt_tui.errors import DistPromptError, ModelError, TargetError
from distprompt_tui.metrics.divergence import Comparison, compare
from distprompt_tui.models.fingerprint import ModelRecord
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prepare import Report
from distprompt_tui.search import make_search
from distprompt_tui.search.protocol import HardPrompt, Prompt, SoftPrompt
from distprompt_tui.search.soft import SoftBatch, initial_vectors
from distprompt_tui.sweeps.results import Row
from distprompt_tui.sweeps.tasks import Outcome, Search, Task
from distprompt_tui.targets import Target, build_target
from distprompt_tui.worker.model_provider import Load, ModelProvider, load_by_name
from distprompt_tui.worker.snapshots import kl_of_text, prompt_tokens

MODELS_KEPT = 2
"""In a worker's memory: the one that is prompted and the one that makes its targets."""

TOP_TOKENS = 20
"""So many of the largest in the target, before and after the search, are kept for a report."""


@dataclass(frozen=True)
class Found:
    """What a search came to.

    Attributes:
        prompt: the best.
        start: divergence of the initial prompt, nats.
        before: logits after the initial prompt, (V,).
        steps: that were made.
        positions: through the model's body, a backward pass as two.
        seconds: this search's share.
    """

    prompt: Prompt
    start: float
    before: Tensor
    steps: int
    positions: int
    seconds: float


def answer(fields: dict[str, Any], threads: int) -> dict[str, Any]:
    """What a worker says to a task, in plain values that fit into JSON: its outcomes, or an `error`.

    Args:
        fields: the task.
        threads: of torch; their number decides in what order numbers are added up.
    """
    torch.set_num_threads(threads)
    task = Task.model_validate(fields)
    try:
        _loader(task)(task.searches[0].spec.model, _quiet)
        began = time.perf_counter()
        outcomes = carry_out(task)
        return {
            "outcomes": [outcome.model_dump(mode="json") for outcome in outcomes],
            "seconds": round(time.perf_counter() - began, 3),
            "peak_bytes": _peak_bytes(),
        }
    except DistPromptError as error:
        return {"error": str(error)}
    except torch.OutOfMemoryError:
        return {"error": f"{task.kind.model} ran out of device memory with {len(task.searches)} prompts at a time"}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}


def carry_out(task: Task) -> list[Outcome]:
    """Make the targets, search for all that can be made, and measure what was found.

    Raises:
        DistPromptError: the model cannot be had, or a search failed.
    """
    settings = task.searches[0].spec.model
    load_recorded = _loader(task)
    model, _ = load_recorded(settings, _quiet)
    source = ModelProvider(model, settings, _quiet, load_recorded)
    made: list[tuple[Search, Target]] = []
    outcomes: list[Outcome] = []
    for search in task.searches:
        try:
            made.append((search, build_target(search.spec.target, model.vocabulary, source)))
        except TargetError as error:
            outcomes.append(Outcome(key=search.key, refused=str(error)))
    if made:
        targets = torch.stack([torch.tensor(target.probabilities) for _, target in made])
        searches = [search for search, _ in made]
        in_batch = isinstance(searches[0].spec.search, Soft)
        found = _descend(model, searches, targets) if in_batch else _one_by_one(model, searches, targets)
        outcomes += [_outcome(model, *one) for one in zip(searches, (target for _, target in made), found, strict=True)]
    return outcomes


@lru_cache(maxsize=MODELS_KEPT)
def load(settings: Model, report: Report, recorded: ModelRecord | None = None) -> tuple[LanguageModel, Path]:
    """As `load_by_name`; the models that were used last stay in memory."""
    return load_by_name(settings, report, recorded)


def _loader(task: Task) -> Load:
    """Loads models as they were when the task's sweep was begun."""
    return lambda settings, report: load(settings, report, task.models.get(settings.name))


def _quiet(text: str, fraction: float | None) -> None:
    """Nobody reads along."""


def _descend(model: LanguageModel, searches: Sequence[Search], targets: Tensor) -> list[Found]:
    """Soft prompts for all targets, (b, V), in one batch."""
    settings, steps = searches[0].spec.search, searches[0].spec.budget.steps
    assert isinstance(settings, Soft)
    began = time.perf_counter()
    prompts = torch.stack([initial_vectors(model, settings, search.spec.seed) for search in searches])
    batch = SoftBatch(model, targets, prompts, settings, steps)
    batch.measure()
    starts, before = batch.kls.tolist(), batch.logits
    while batch.step < steps:
        batch.update()
        batch.measure()
    if not batch.kls.isfinite().all():
        raise ModelError(f"the model gave no finite divergence by step {steps}: a smaller lr or dtype float32 may do")
    seconds = (time.perf_counter() - began) / len(searches)
    return [
        Found(SoftPrompt(prompt), start, logits, steps, batch.positions // len(searches), seconds)
        for prompt, start, logits in zip(batch.best_prompts, starts, before, strict=True)
    ]


def _one_by_one(model: LanguageModel, searches: Sequence[Search], targets: Tensor) -> list[Found]:
    """Hard prompts for targets, (b, V)."""
    return [_swap(model, search, target) for search, target in zip(searches, targets, strict=True)]


def _swap(model: LanguageModel, asked: Search, target: Tensor) -> Found:
    began = time.perf_counter()
    search = make_search(model, target, asked.spec, lambda text: print(f"{asked.key}: {text}", file=sys.stderr))
    steps = search.steps()
    step = next(steps)
    start, before = step.kls[0], search.current[1]
    for step in steps:
        if not math.isfinite(step.kls[-1]):
            raise ModelError(f"the model gave no finite divergence at step {step.index}")
    return Found(search.best.prompt, start, before, step.index, step.positions, time.perf_counter() - began)


@torch.no_grad()
def _outcome(model: LanguageModel, search: Search, target: Target, found: Found) -> Outcome:
    """Measure the prompt alone, once more, and put it beside what no prompt could beat."""
    p = torch.tensor(target.probabilities)
    ids = found.prompt.ids.tolist() if isinstance(found.prompt, HardPrompt) else None
    asked = found.prompt.vectors if isinstance(found.prompt, SoftPrompt) else found.prompt.ids
    achieved = compare(p, model.next_token_logits(asked[None])[0])
    bounds = _bounds(model, p)
    row = Row(
        key=search.key,
        model=search.kind.model,
        series=search.series,
        family=target.family,
        method=search.kind.method,
        length=search.kind.length,
        entropy_asked=search.entropy_asked,
        target_index=search.target_index,
        seed=search.seed,
        kl=achieved.numbers.kl,
        kl_string=None if ids is None else kl_of_text(model, p, ids),
        floor=bounds.floor,
        head_optimum=bounds.head_optimum,
        uniform_kl=math.log(model.vocabulary.allowed.sum()) - target.entropy,
        start=found.start,
        entropy=target.entropy,
        entropy_achieved=achieved.numbers.entropy,
        steps=found.steps,
        positions=found.positions,
        seconds=round(found.seconds, 3),
        versions=_versions(),
    )
    result = {
        "spec": search.spec.model_dump(mode="json", exclude_none=True),
        "row": asdict(row),
        "recipe": target.recipe,
        "notes": target.notes,
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "prompt_ids": ids,
        "prompt_text": None if ids is None else model.vocabulary.decode(ids),
        "prompt": to_builtins(prompt_tokens(model, found.prompt)),
        "tokens": _largest(model, p, compare(p, found.before), achieved),
    }
    return Outcome(key=search.key, row=row, result=result)


def _bounds(model: LanguageModel, target: Tensor) -> Bounds:
    try:
        *_, bounds = solve_bounds(model.head, target)
    except ModelError as error:
        return Bounds(why_no_floor=str(error))
    return bounds


def _largest(model: LanguageModel, target: Tensor, before: Comparison, after: Comparison) -> list[dict[str, Any]]:
    """The largest tokens of target, of before and of after, the largest of the target first."""
    three = (target, before.q, after.q)
    count = min(TOP_TOKENS, len(target))
    ids = torch.cat([values.topk(count).indices for values in three]).unique()
    ids = ids[target[ids].argsort(descending=True, stable=True)]
    names = ("target", "before", "after")
    return [
        {"id": i, "text": model.vocabulary.text(i)}
        | {name: float(values[i]) for name, values in zip(names, three, strict=True)}
        for i in ids.tolist()
    ]


def _versions() -> str:
    return " ".join([__version__, *(f"{name} {metadata.version(name)}" for name in ("torch", "transformers"))])


def _peak_bytes() -> int:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        return int(torch.cuda.max_memory_allocated())
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2) of macOS counts bytes, that of Linux kilobytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
