"""Runs one task: targets, searches and measurements. All executors use it, so that all give the same numbers."""

from __future__ import annotations

import gc
import math
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from msgspec import to_builtins
from torch import Tensor

from distprompt_tui import __version__
from distprompt_tui.bounds.cache import solve_bounds
from distprompt_tui.bounds.values import Bounds
from distprompt_tui.core.config.search_specs import Soft
from distprompt_tui.core.config.spec import ModelSpec
from distprompt_tui.core.errors import DistPromptError, ModelError, TargetError
from distprompt_tui.core.metrics.divergence import Comparison, compare
from distprompt_tui.models.device import choose_device, is_out_of_memory, peak_bytes
from distprompt_tui.models.fingerprint import ModelRecord
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prepare import OnProgress, ignore_progress
from distprompt_tui.search import make_search
from distprompt_tui.search.protocol import HardPrompt, Prompt, SoftPrompt
from distprompt_tui.search.soft import SoftBatch, initial_vectors
from distprompt_tui.sweeps.results import ResultRow
from distprompt_tui.sweeps.tasks import SearchOutcome, SweepSearch, Task
from distprompt_tui.targets import Target, build_target
from distprompt_tui.worker.model_provider import Load, ModelProvider, load_by_name
from distprompt_tui.worker.snapshots import kl_of_text, prompt_tokens
from distprompt_tui.worker.witness import find_witness

MODELS_KEPT = 2  # models in a worker's memory: the one that is searched and the one that makes its targets

TOP_TOKENS = 20
"""Number of the largest tokens of target, initial and final distribution that a result keeps for a report."""


@dataclass(frozen=True)
class SearchResult:
    """The best prompt of a search, and the initial divergence (nats) and logits, (V,). Costs are as in `ResultRow`."""

    prompt: Prompt
    start: float
    before: Tensor
    steps: int
    positions: int
    seconds: float


def answer_task(fields: dict[str, Any], threads: int) -> dict[str, Any]:
    """Run the task with these fields; return its outcomes, or an `error`, as JSON-compatible values.

    The number of torch threads determines the order of floating-point additions. If memory runs out, the models of
    earlier tasks are released and the task is run once more.
    """
    torch.set_num_threads(threads)
    task = Task.model_validate(fields)
    answer, is_memory_short = _answer(task)
    if is_memory_short:
        load.cache_clear()
        gc.collect()
        answer, _ = _answer(task)
    return answer


def _answer(task: Task) -> tuple[dict[str, Any], bool]:
    """Run a task; return its answer, and whether it failed for lack of memory."""
    try:
        _loader(task)(task.searches[0].spec.model, ignore_progress)
        began = time.perf_counter()
        outcomes = run_task(task)
        return {
            "outcomes": [outcome.model_dump(mode="json") for outcome in outcomes],
            "seconds": round(time.perf_counter() - began, 3),
            "peak_bytes": peak_bytes(choose_device(task.searches[0].spec.model.device)),
        }, False
    except DistPromptError as error:
        return {"error": str(error)}, is_out_of_memory(error)
    except Exception as error:
        if is_out_of_memory(error):
            prompts = f"{len(task.searches)} prompts at a time"
            return {"error": f"{task.config.model} ran out of device memory with {prompts}"}, True
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}, False


def run_task(task: Task) -> list[SearchOutcome]:
    """Make the targets, run the searches with a valid target, and measure their prompts.

    Raises:
        DistPromptError: the model cannot be loaded, or a search failed.
    """
    settings = task.searches[0].spec.model
    load_recorded = _loader(task)
    model, _ = load_recorded(settings, ignore_progress)
    source = ModelProvider(model, settings, ignore_progress, load_recorded)
    made: list[tuple[SweepSearch, Target]] = []
    outcomes: list[SearchOutcome] = []
    for search in task.searches:
        try:
            made.append((search, build_target(search.spec.target, model.vocabulary, source)))
        except TargetError as error:
            outcomes.append(SearchOutcome(key=search.key, invalid=str(error)))
    if made:
        targets = torch.stack([torch.tensor(target.probabilities) for _, target in made])
        searches = [search for search, _ in made]
        if isinstance(searches[0].spec.search, Soft):
            found = _search_vectors(model, searches, targets)
        else:
            found = list(map(partial(_search_tokens, model), searches, targets))
        outcomes += [
            _outcome(model, search, target, p, one)
            for (search, target), p, one in zip(made, targets, found, strict=True)
        ]
    return outcomes


@lru_cache(maxsize=MODELS_KEPT)
def load(settings: ModelSpec, report: OnProgress, recorded: ModelRecord | None = None) -> tuple[LanguageModel, Path]:
    return load_by_name(settings, report, recorded)


def _loader(task: Task) -> Load:
    """Return a loader for the models as recorded at the start of the sweep."""
    return lambda settings, report: load(settings, report, task.models.get(settings.name))


def _search_vectors(model: LanguageModel, searches: Sequence[SweepSearch], targets: Tensor) -> list[SearchResult]:
    """Search soft prompts for all targets, (b, V), in one batch."""
    settings, steps = searches[0].spec.search, searches[0].spec.budget.steps
    assert isinstance(settings, Soft)
    began = time.perf_counter()
    prompts = torch.stack([initial_vectors(model, settings, search.spec.seed) for search in searches])
    keys = f"{searches[0].key} and others" if len(searches) > 1 else searches[0].key
    batch = SoftBatch(model, targets, prompts, settings, steps, lambda text: print(f"{keys}: {text}", file=sys.stderr))
    batch.measure()
    starts, before = batch.kls.tolist(), batch.logits
    while batch.step < steps:
        batch.update()
        batch.measure()
    if not batch.kls.isfinite().all():
        raise ModelError(f"the divergence is not finite at step {steps}: try a smaller lr or dtype float32")
    seconds = (time.perf_counter() - began) / len(searches)
    return [
        SearchResult(SoftPrompt(prompt), start, logits, steps, batch.positions // len(searches), seconds)
        for prompt, start, logits in zip(batch.best_prompts, starts, before, strict=True)
    ]


def _search_tokens(model: LanguageModel, asked: SweepSearch, target: Tensor) -> SearchResult:
    began = time.perf_counter()
    search = make_search(model, target, asked.spec, lambda text: print(f"{asked.key}: {text}", file=sys.stderr))
    steps = search.steps()
    step = next(steps)
    start, before = step.kls[0], search.current[1]
    for step in steps:
        if not math.isfinite(step.kls[-1]):
            raise ModelError(f"the divergence is not finite at step {step.index}")
    return SearchResult(search.best.prompt, start, before, step.index, step.positions, time.perf_counter() - began)


@torch.no_grad()
def _outcome(
    model: LanguageModel, search: SweepSearch, target: Target, p: Tensor, found: SearchResult
) -> SearchOutcome:
    """Measure the prompt again outside the batch, and compute the bounds of its target."""
    ids = found.prompt.ids.tolist() if isinstance(found.prompt, HardPrompt) else None
    asked = found.prompt.vectors if isinstance(found.prompt, SoftPrompt) else found.prompt.ids
    achieved = compare(p, model.next_token_logits(asked[None].to(model.device))[0])
    bounds = _bounds(model, p)
    witness = find_witness(model, search.spec, p)
    row = ResultRow(
        key=search.key,
        model=search.config.model,
        series=search.series,
        family=target.family,
        method=search.config.method,
        length=search.config.length,
        entropy_asked=search.entropy_asked,
        target_index=search.target_index,
        seed=search.seed,
        kl=achieved.numbers.kl,
        kl_string=None if ids is None else kl_of_text(model, p, ids),
        floor=bounds.floor,
        head_optimum=bounds.head_optimum,
        uniform_kl=target.uniform_kl(model.vocabulary),
        start=found.start,
        entropy=target.entropy,
        entropy_achieved=achieved.numbers.entropy,
        steps=found.steps,
        positions=found.positions,
        seconds=round(found.seconds, 3),
        versions=_versions(),
        restart=search.restart,
        witness_kl=witness.kl if witness is not None else None,
        witness_length=witness.length if witness is not None else None,
        weights=model.weights,
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
    return SearchOutcome(key=search.key, row=row, result=result)


def _bounds(model: LanguageModel, target: Tensor) -> Bounds:
    """Compute bounds; a failure must not lose a search that has ended."""
    try:
        *_, bounds = solve_bounds(model.head, target)
    except ModelError as error:
        return Bounds(why_no_floor=str(error))
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return Bounds(why_no_floor="the memory of the device and of the CPU is too small")
    return bounds


def _largest(model: LanguageModel, target: Tensor, before: Comparison, after: Comparison) -> list[dict[str, Any]]:
    """Return the largest tokens of the three distributions, sorted by target probability."""
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
