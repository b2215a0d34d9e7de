"""Soft search against plain Adam and against the public reproduction's recipe, at equal work.

    python tests/benchmarks/soft.py run [MODEL]     adds what is missing to the results file; can be stopped and go on
    python tests/benchmarks/soft.py table [MODEL]   prints the verdicts and draws the curves from it

Work is counted by a hook on the model's body: token positions, a backward pass as two. All prompts but the recipe's
have ten vectors. The recipe is that of the reproduction that is public: Adam at 0.1, five vectors from N(0, 1), at
most 500 steps, ended by 20 steps without a new best.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distprompt_tui import spec as specs
from distprompt_tui.bounds import solve_bounds
from distprompt_tui.divergence import entropy, logits_kl
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.source import ModelSource, load_by_name
from distprompt_tui.search.soft import SoftBatch, initial_vectors
from distprompt_tui.targets import make_target

TEXT = "My favourite food is"
TARGETS: dict[str, specs.Target] = {
    "outlier, 1 token, H=6": specs.Outlier(entropy=6, tokens=(" banana",)),
    "outlier, 4 tokens, H=5": specs.Outlier(entropy=5, count=4),
    "temperature, H=4": specs.Temperature(entropy=4),
    "temperature, H=8": specs.Temperature(entropy=8),
    "vanilla, H=2": specs.Vanilla(entropy=2),
    "vanilla, H=6": specs.Vanilla(entropy=6),
    "zipf, H=5": specs.Zipf(entropy=5),
    "lm": specs.Lm(text="The capital of France is"),
    "lm, H=3": specs.Lm(text=TEXT, entropy=3),
    "shuffled lm, H=3": specs.Shuffled(text=TEXT, entropy=3),
    "two words": specs.Explicit(masses={" heads": 0.5, " tails": 0.5}),
    "reachable": specs.Reachable(seed=3),
}
SEEDS = (0, 1, 2)
ARMS = {
    "adam 300": (specs.Soft(optimizer="adam"), 300),
    "ours 300": (specs.Soft(), 300),
    "ours 1200": (specs.Soft(), 1200),
    "adam 1200": (specs.Soft(optimizer="adam"), 1200),
}
ORDER = ("ours 300", "adam 300", "recipe", "quarter", "ours 1200", "adam 1200")
RECIPE_LENGTH, RECIPE_LR, RECIPE_STEPS, RECIPE_PATIENCE = 5, 0.1, 500, 20
QUARTER = specs.Soft(length=RECIPE_LENGTH, warmup=2)
"""Ours at a quarter of the recipe's work: the same length, so that a step costs the same."""


def main() -> None:
    """Run or print."""
    command, model = sys.argv[1], (sys.argv[2:] or ["smollm2"])[0]
    results = Path(__file__).parents[2] / "docs" / "benchmarks" / f"soft-{model}.json"
    if command == "run":
        run(model, results)
    else:
        table(json.loads(results.read_text(encoding="utf-8")))


def run(name: str, results: Path) -> None:
    """Every arm of every seed that the results file does not hold yet."""
    settings = specs.Model(name=name, device="cpu")
    model, _ = load_by_name(settings, lambda text, fraction: None)
    source = ModelSource(model, settings, lambda text, fraction: None)
    targets = torch.stack(
        [torch.tensor(make_target(target, model.vocabulary, source).probabilities) for target in TARGETS.values()]
    )
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    if "head_limits" not in found:
        found["head_limits"] = [list(solve_bounds(model.head, target))[-1].head_limit for target in targets]
    work = count_work(model)
    for arm in ORDER:
        seeds = [seed for seed in SEEDS if f"{arm}, seed {seed}" not in found]
        if not seeds:
            continue
        began, work[0] = time.perf_counter(), 0
        if arm == "recipe":
            traces = [[recipe(model, target, seed) for target in targets] for seed in seeds]
        elif arm == "quarter":
            traces = [quarter(model, targets, seed, found[f"recipe, seed {seed}"]["best"]) for seed in seeds]
        else:
            traces = descend(model, targets, seeds, *ARMS[arm])
        share = {
            "positions": work[0] / len(seeds),
            "seconds": round((time.perf_counter() - began) / len(seeds), 1),
        }
        found |= {f"{arm}, seed {seed}": {"best": best, **share} for seed, best in zip(seeds, traces, strict=True)}
        results.write_text(json.dumps(found), encoding="utf-8")
        print(arm, seeds, share, flush=True)


def count_work(model: LanguageModel) -> list[int]:
    """A counter of positions through the body, kept by a hook on it."""
    work = [0]

    def count(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        embeds: Tensor = kwargs["inputs_embeds"]
        work[0] += embeds.shape[0] * embeds.shape[1] * (3 if embeds.requires_grad else 1)

    model.body.register_forward_pre_hook(count, with_kwargs=True)
    return work


def descend(
    model: LanguageModel, targets: Tensor, seeds: list[int], settings: specs.Soft, steps: int
) -> list[list[list[float]]]:
    """Best divergence after 0, 1, ..., `steps` updates, by seed and target; all of them advance in one batch."""
    starts = [1000 * seed + index for seed in seeds for index in range(len(targets))]
    prompts = torch.stack([initial_vectors(model, settings, start) for start in starts])
    batch = SoftBatch(model, targets.repeat(len(seeds), 1), prompts, settings, steps)
    bests = []
    while True:
        kls = batch.measure()
        bests.append(batch.best_kls)
        if batch.step == steps:
            break
        batch.update(kls)
    traces = [[round(value, 6) for value in trace] for trace in torch.stack(bests).T.tolist()]
    return [traces[first : first + len(targets)] for first in range(0, len(traces), len(targets))]


def recipe(model: LanguageModel, target: Tensor, seed: int) -> list[float]:
    """The public recipe's best divergence after each update, written out plainly."""
    generator = torch.Generator().manual_seed(seed)
    prompt = torch.randn(1, RECIPE_LENGTH, model.hidden_size, generator=generator).requires_grad_()
    adam = torch.optim.Adam([prompt], lr=RECIPE_LR)
    p, target_entropy = target.float(), float(entropy(target))
    bests: list[float] = []
    best, best_step = math.inf, 0
    for step in range(RECIPE_STEPS + 1):
        kl = logits_kl(p, model.next_token_logits(prompt), target_entropy)[0]
        if float(kl) < best:
            best, best_step = float(kl), step
        bests.append(round(best, 6))
        if step - best_step >= RECIPE_PATIENCE:
            break
        adam.zero_grad()
        kl.backward()
        adam.step()
    return bests


def quarter(model: LanguageModel, targets: Tensor, seed: int, recipes: list[list[float]]) -> list[list[float]]:
    """Ours, planned for a quarter of the steps that the recipe took on each target."""
    traces = []
    for target, trace in zip(targets, recipes, strict=True):
        traces += descend(model, target[None], [seed], QUARTER, len(trace) // 4)[0]
    return traces


def table(found: dict[str, Any]) -> None:
    """What the issue of this search asks for, from the results."""
    limits = found["head_limits"]
    print(f"{'target':24} {'limit':>8}" + "".join(f" {arm:>10}" for arm in arms(found)))
    for index, name in enumerate(TARGETS):
        row = [statistics.median(ends(found, arm, index)) - limits[index] for arm in arms(found)]
        print(f"{name:24} {limits[index]:8.4f}" + "".join(f" {value:10.4f}" for value in row))
    print("(what is left above the head limit, nats, median of the seeds)")
    for arm, share, nats in (("ours 300", 0.05, 0.01), ("ours 1200", 0.01, 0.003)):
        if arm in arms(found):
            excess = [end - limits[index] - share * limits[index] - nats for index, end in pairs(found, arm)]
            good = sum(value <= 0 for value in excess)
            print(f"{arm}: left ≤ {share:.0%} of the head limit + {nats} on {good} of {len(excess)} pairs")
    for plain, ours in (("adam 300", "ours 300"), ("adam 1200", "ours 1200")):
        if {plain, ours} <= set(arms(found)):
            both = list(zip(pairs(found, plain), pairs(found, ours), strict=True))
            worse = sum(b[1] > a[1] for a, b in both)
            print(f"{ours} ends above {plain} on {worse} of {len(both)} pairs; {speedup(found, plain, ours)}")
    if "quarter" in arms(found):
        both = list(zip(pairs(found, "recipe"), pairs(found, "quarter"), strict=True))
        reached = sum(b[1] <= a[1] for a, b in both)
        print(f"a quarter of the recipe's work reaches what the recipe does on {reached} of {len(both)} pairs")


def arms(found: dict[str, Any]) -> list[str]:
    """Arms that are complete."""
    return [arm for arm in ORDER if all(f"{arm}, seed {seed}" in found for seed in SEEDS)]


def ends(found: dict[str, Any], arm: str, index: int) -> list[float]:
    """Final divergences of one target, a seed each."""
    return [found[f"{arm}, seed {seed}"]["best"][index][-1] for seed in SEEDS]


def pairs(found: dict[str, Any], arm: str) -> Iterator[tuple[int, float]]:
    """Index of target and final divergence of every target and seed."""
    for index in range(len(TARGETS)):
        for end in ends(found, arm, index):
            yield index, end


def speedup(found: dict[str, Any], plain: str, ours: str) -> str:
    """Steps of `plain` over the steps in which `ours` is as good as its end."""
    ratios = []
    for seed in SEEDS:
        a, b = (found[f"{arm}, seed {seed}"]["best"] for arm in (plain, ours))
        for slow, fast in zip(a, b, strict=True):
            first = int(np.argmax(np.asarray(fast) <= slow[-1])) if fast[-1] <= slow[-1] else math.inf
            ratios.append((len(slow) - 1) / max(first, 1))
    return f"what {plain} reaches takes {ours} 1/{statistics.median(ratios):.1f} of its steps (median)"


if __name__ == "__main__":
    main()
