"""Soft search against plain Adam and against the public reproduction's recipe, at equal work.

    python tests/benchmarks/soft.py run [MODEL]     adds what is missing to the results file; can be stopped and go on
    python tests/benchmarks/soft.py reachable [MODEL]   ten targets that some soft prompt gives, 300 steps each
    python tests/benchmarks/soft.py batch [MODEL]   a sweep's batch of targets against one by one: speed and results
    python tests/benchmarks/soft.py table [MODEL]   prints the findings and draws the curves from it

Work is counted by a hook on the model's backbone: token positions, a backward pass as two. Prompts have ten vectors;
the recipe's have five, and those of `ours short`, which is held against it, four, so that its steps cost a fifth less.
The recipe is that of the reproduction that is public: Adam at 0.1, vectors from N(0, 1), at most 500 steps, ended by 20
steps without a new best.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import plotext
import torch
from by_target import ratio
from torch import Tensor

from distprompt_tui.bounds.cache import solve_bounds
from distprompt_tui.core.config import search_specs, target_specs
from distprompt_tui.core.config import spec as specs
from distprompt_tui.core.metrics.divergence import entropy, logits_kl
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.soft import SoftBatch, initial_vectors
from distprompt_tui.sweeps.sweep_spec import Sweep
from distprompt_tui.targets import build_target
from distprompt_tui.worker.model_provider import ModelProvider, load_by_name

TEXT = "My favourite food is"
TARGETS: dict[str, target_specs.TargetSpec] = {
    "outlier, 1 token, H=6": target_specs.Outlier(entropy=6, tokens=(" banana",)),
    "outlier, 4 tokens, H=5": target_specs.Outlier(entropy=5, count=4),
    "temperature, H=4": target_specs.Temperature(entropy=4),
    "temperature, H=8": target_specs.Temperature(entropy=8),
    "vanilla, H=2": target_specs.Vanilla(entropy=2),
    "vanilla, H=6": target_specs.Vanilla(entropy=6),
    "zipf, H=5": target_specs.Zipf(entropy=5),
    "lm": target_specs.Lm(text="The capital of France is"),
    "lm, H=3": target_specs.Lm(text=TEXT, entropy=3),
    "shuffled lm, H=3": target_specs.Shuffled(text=TEXT, entropy=3),
    "two words": target_specs.Explicit(probabilities={" heads": 0.5, " tails": 0.5}),
    "reachable": target_specs.Reachable(seed=3),
}
REACHED = (target_specs.Lm, target_specs.Reachable, target_specs.Explicit)
"""Families of which some prompt gives the targets above, or nearly."""

SEEDS = (0, 1, 2)
LEAST_LEFT = 1e-6
"""What is left above the head optimum is divided by; nats. Divergences are written with six decimals."""

RECIPE_LENGTH, RECIPE_LR, RECIPE_STEPS, RECIPE_PATIENCE = 5, 0.1, 500, 20
ARMS = {
    "adam 300": (search_specs.Soft(optimizer="adam"), 300),
    "ours 300": (search_specs.Soft(), 300),
    "ours short": (search_specs.Soft(length=4), 150),
    "ours 1200": (search_specs.Soft(), 1200),
    "adam 1200": (search_specs.Soft(optimizer="adam"), 1200),
}
ORDER = ("ours 300", "adam 300", "recipe", "ours short", "ours 1200", "adam 1200")


def main() -> None:
    """Run or print."""
    command, model = sys.argv[1], (sys.argv[2:] or ["smollm2"])[0]
    results = Path(__file__).parents[2] / "docs" / "benchmarks" / f"soft-{model}.json"
    if command == "run":
        run(model, results)
    elif command == "reachable":
        reachable(model)
    elif command == "batch":
        batch(model, *map(int, sys.argv[3:]))
    else:
        table(json.loads(results.read_text(encoding="utf-8")))


def load(name: str, asked: Iterable[target_specs.TargetSpec]) -> tuple[LanguageModel, Tensor]:
    """A model, and targets on it, (count, V)."""
    settings = specs.ModelSpec(name=name, device="cpu")
    model, _ = load_by_name(settings, lambda text, fraction: None)
    source = ModelProvider(model, settings, lambda text, fraction: None)
    made = [build_target(target, model.vocabulary, source).probabilities for target in asked]
    return model, torch.tensor(np.stack(made))


def reachable(name: str) -> None:
    """Targets with a floor of 0 that a soft prompt is known to reach."""
    model, targets = load(name, [target_specs.Reachable(seed=seed) for seed in range(100, 110)])
    (traces,) = descend(model, targets, [0], search_specs.Soft(), 300)
    print("divergence after 300 steps:", *(f"{trace[-1]:.5f}" for trace in traces))


def batch(name: str, count: int = Sweep.model_fields["batch"].default, steps: int = 60) -> None:
    """Seconds per target and step, alone and in a batch; and how far the results lie apart.

    Targets that some prompt reaches are left out: of what is left of those, next to nothing, a percentage says nothing.
    """
    names = [name_ for name_, target in TARGETS.items() if not isinstance(target, REACHED)]
    names = list(islice(cycle(names), count))  # those that come again start from another prompt
    model, targets = load(name, [TARGETS[name_] for name_ in names])
    seconds = {"alone": 0.0, "batch": 0.0}
    ends: dict[str, list[float]] = {"alone": [], "batch": []}
    prompts = torch.stack([initial_vectors(model, search_specs.Soft(), seed) for seed in range(count)])
    for how, rows in (("alone", 1), ("batch", count)):
        for first in range(0, count, rows):
            group = SoftBatch(
                model, targets[first : first + rows], prompts[first : first + rows], search_specs.Soft(), steps
            )
            began = time.perf_counter()
            for _ in range(steps):
                group.measure()
                group.update()
            seconds[how] += time.perf_counter() - began
            group.measure()
            ends[how] += group.best_kls.tolist()
    ratio = seconds["alone"] / seconds["batch"]
    print(f"alone {seconds['alone']:.0f} s, in one batch {seconds['batch']:.0f} s: x{ratio:.2f}")
    for name_, a, b in zip(names, ends["alone"], ends["batch"], strict=True):
        print(f"{name_:24} {a:9.5f} {b:9.5f} {abs(a - b) / a:8.2%}")


def run(name: str, results: Path) -> None:
    """Every arm of every seed that the results file does not hold yet."""
    model, targets = load(name, TARGETS.values())
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    if "head_optima" not in found:
        found["head_optima"] = [list(solve_bounds(model.head, target))[-1].head_optimum for target in targets]
    work = count_work(model)
    for arm in ORDER:
        seeds = [seed for seed in SEEDS if f"{arm}, seed {seed}" not in found]
        if not seeds:
            continue
        began, work[0] = time.perf_counter(), 0
        traces = recipe(model, targets, seeds) if arm == "recipe" else descend(model, targets, seeds, *ARMS[arm])
        share = {
            "positions": work[0] / len(seeds),
            "seconds": round((time.perf_counter() - began) / len(seeds), 1),
        }
        found |= {f"{arm}, seed {seed}": {"best": best, **share} for seed, best in zip(seeds, traces, strict=True)}
        results.write_text(json.dumps(found), encoding="utf-8")
        print(arm, seeds, share, flush=True)


def count_work(model: LanguageModel) -> list[int]:
    """A counter of positions through the backbone, kept by a hook on it."""
    work = [0]

    def count(module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        embeds: Tensor = kwargs["inputs_embeds"]
        work[0] += embeds.shape[0] * embeds.shape[1] * (3 if embeds.requires_grad else 1)

    model.backbone.register_forward_pre_hook(count, with_kwargs=True)
    return work


def descend(
    model: LanguageModel, targets: Tensor, seeds: list[int], settings: search_specs.Soft, steps: int
) -> list[list[list[float]]]:
    """Best divergence after 0, 1, ..., `steps` updates, by seed and target; all of them advance in one batch."""
    starts = [1000 * seed + index for seed in seeds for index in range(len(targets))]
    prompts = torch.stack([initial_vectors(model, settings, start) for start in starts])
    batch = SoftBatch(model, targets.repeat(len(seeds), 1), prompts, settings, steps)
    bests = []
    while True:
        batch.measure()
        bests.append(batch.best_kls)
        if batch.step == steps:
            break
        batch.update()
    traces = [[round(value, 6) for value in trace] for trace in torch.stack(bests).T.tolist()]
    return [traces[first : first + len(targets)] for first in range(0, len(traces), len(targets))]


def recipe(model: LanguageModel, targets: Tensor, seeds: list[int]) -> list[list[list[float]]]:
    """The public recipe's best divergence after each update until its patience ends, by seed and target.

    Written out plainly; Adam treats each number by itself, so all of them can share a forward pass.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds for _ in targets]
    shape = (RECIPE_LENGTH, model.hidden_size)
    prompts = torch.stack([torch.randn(shape, generator=generator) for generator in generators]).requires_grad_()
    adam = torch.optim.Adam([prompts], lr=RECIPE_LR)
    p = targets.repeat(len(seeds), 1)
    found: list[list[float]] = []
    for step in range(RECIPE_STEPS + 1):
        kls = logits_kl(p.float(), model.next_token_logits(prompts), entropy(p).float())
        found.append(kls.tolist())
        if all(len(until_patience_ends(trace)) <= step for trace in zip(*found, strict=True)):
            break
        adam.zero_grad()
        kls.sum().backward()
        adam.step()
    traces = [until_patience_ends(trace) for trace in zip(*found, strict=True)]
    return [traces[first : first + len(targets)] for first in range(0, len(traces), len(targets))]


def until_patience_ends(kls: Sequence[float]) -> list[float]:
    """The best divergences so far, up to the step at which the recipe gives up."""
    bests: list[float] = []
    best_step = 0
    for step, kl in enumerate(kls):
        if not bests or kl < bests[-1]:
            best_step = step
        bests.append(round(min(kl, bests[-1]), 6) if bests else round(kl, 6))
        if step - best_step >= RECIPE_PATIENCE:
            break
    return bests


def table(found: dict[str, Any]) -> None:
    """What the issue of this search asks for, from the results."""
    limits, names = found["head_optima"], list(TARGETS)
    print(f"{'target':24} {'limit':>8}" + "".join(f" {arm:>10}" for arm in arms(found)))
    for index, name in enumerate(TARGETS):
        row = [statistics.median(ends(found, arm, index)) - limits[index] for arm in arms(found)]
        print(f"{name:24} {limits[index]:8.4f}" + "".join(f" {value:10.4f}" for value in row))
    print("(what is left above the head optimum, nats, median of the seeds)")
    for arm, share, nats in (("ours 300", 0.05, 0.01), ("ours 1200", 0.01, 0.003)):
        if arm in arms(found):
            excess = [end - limits[index] - share * limits[index] - nats for index, end in pairs(found, arm)]
            good = sum(value <= 0 for value in excess)
            print(f"{arm}: left ≤ {share:.0%} of the head optimum + {nats} on {good} of {len(excess)} pairs")
    for plain, ours in (("adam 300", "ours 300"), ("adam 1200", "ours 1200"), ("recipe", "ours short")):
        if {plain, ours} <= set(arms(found)):
            both = list(zip(pairs(found, plain), pairs(found, ours), strict=True))
            worse = sum(b[1] > a[1] for a, b in both)
            print(f"{ours} ends above {plain} on {worse} of {len(both)} pairs; {speedup(found, plain, ours)}")
            lefts = [
                (names[index], *(max(end - limits[index], LEAST_LEFT) for end in (b, a))) for (index, a), (_, b) in both
            ]
            print(f"    left by {ours} over left by {plain}: {ratio(lefts)}")
    curves(found, ("adam 300", "ours 300"))


def curves(found: dict[str, Any], drawn: Sequence[str]) -> None:
    """What is left above the head optimum after each step, the median of all pairs, on a logarithmic axis."""
    limits = np.repeat(found["head_optima"], len(SEEDS))
    lines: dict[str, tuple[Sequence[float], Sequence[float]]] = {}
    for arm in drawn:
        traces = [found[f"{arm}, seed {seed}"]["best"][index] for index in range(len(TARGETS)) for seed in SEEDS]
        left = np.median(np.asarray(traces) - limits[:, None], axis=0)
        lines[arm] = (list(range(len(left))), left.tolist())
    draw(lines, (0.01, 0.03, 0.1, 0.3, 1, 3, 10), "steps")


def draw(
    lines: dict[str, tuple[Sequence[float], Sequence[float]]],
    ticks: Sequence[float],
    x_name: str,
    x_ticks: Sequence[float] = (),
) -> None:
    """Print lines of x and y, y on a logarithmic axis with these ticks; so is x where it has some."""
    plotext.clear_figure()
    plotext.plotsize(100, 24)
    plotext.theme("clear")
    for (name, (x, y)), marker in zip(lines.items(), cycle("·o+x"), strict=False):
        plotext.plot(np.log10(x).tolist() if x_ticks else x, np.log10(y).tolist(), marker=marker, label=name)
    plotext.yticks(np.log10(ticks).tolist(), [f"{tick:g}" for tick in ticks])
    if x_ticks:
        plotext.xticks(np.log10(x_ticks).tolist(), [f"{tick:,}" for tick in x_ticks])
    plotext.xlabel(x_name)
    print(plotext.uncolorize(plotext.build()))


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
    """Work of `plain` over the work in which `ours` is as good as its end."""
    ratios = []
    for seed in SEEDS:
        a, b = (found[f"{arm}, seed {seed}"]["best"] for arm in (plain, ours))
        for slow, fast in zip(a, b, strict=True):
            first = int(np.argmax(np.asarray(fast) <= slow[-1])) if fast[-1] <= slow[-1] else math.inf
            ratios.append((len(slow) - 1) * length(plain) / (max(first, 1) * length(ours)))
    return f"what {plain} reaches takes {ours} 1/{statistics.median(ratios):.2f} of its work (median)"


def length(arm: str) -> int:
    """Vectors of an arm's prompts: a step's work goes with them."""
    return RECIPE_LENGTH if arm == "recipe" else ARMS[arm][0].length


if __name__ == "__main__":
    main()
