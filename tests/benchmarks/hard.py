"""Hard search against gcg, hotflip and random swaps, at equal work.

    python tests/benchmarks/hard.py run [MODEL [POSITIONS]]    adds what is missing; can be stopped and go on
    python tests/benchmarks/hard.py table [MODEL]              prints the verdicts on what is there
    python tests/benchmarks/hard.py exhaustive [MODEL]         the best one-token prompts, by a plain loop and by search

Work is counted by a hook on the model's body: token positions, a backward pass as two. Every method has its defaults,
ten tokens, and this program's evaluator: gcg too shares beginnings and pays for no prompt twice, so that what is
compared is how they search.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from soft import TARGETS, count_work, load
from torch import Tensor

from distprompt_tui import spec as specs
from distprompt_tui.bounds import solve_bounds
from distprompt_tui.divergence import entropy
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search import make_search
from distprompt_tui.search.initial import usable_ids
from distprompt_tui.search.retokenise import surviving

ARMS: dict[str, specs.Search] = {
    "hard": specs.Hard(),
    "gcg": specs.Gcg(),
    "hotflip": specs.Hotflip(),
    "random": specs.RandomSwaps(),
}
SEEDS = (0, 1, 2)
POSITIONS = 142_000
"""Of gcg some 43 steps; 27 if every one of its 512 candidates were run whole."""

POINTS = 60
FIRST_POINT = 1 / 300
"""The curve's points are spaced by a constant factor, from this share of the work to all of it."""

ONE_TOKEN_TARGETS = tuple(target for target in TARGETS if target not in ("temperature, H=8", "vanilla, H=6"))
LOOP_BATCH = 256

RESAMPLES = 10_000
LEAST_LEFT = 1e-6
"""What is left above the head limit is divided by; nats."""


def main() -> None:
    """Run or print."""
    command, *rest = sys.argv[1:]
    model = rest[0] if rest else "smollm2"
    results = Path(__file__).parents[2] / "docs" / "benchmarks" / f"hard-{model}.json"
    if command == "exhaustive":
        exhaustive(model)
    elif command == "run":
        run(model, results, int(rest[1]) if len(rest) > 1 else POSITIONS)
    else:
        table(json.loads(results.read_text(encoding="utf-8")))


def run(name: str, results: Path, positions: int) -> None:
    """Every arm of every target and seed that the results file does not hold yet."""
    model, made = load(name, TARGETS.values())
    targets = dict(zip(TARGETS, made, strict=True))
    found: dict[str, Any] = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    if found.setdefault("positions", positions) != positions:
        sys.exit(f"{results} is of {found['positions']} positions, not {positions}")
    limits = found.setdefault("head_limits", {})
    work = count_work(model)
    for seed in SEEDS:
        for target, p in targets.items():
            if target not in limits:
                limits[target] = list(solve_bounds(model.head, p))[-1].head_limit
            for arm in ARMS:
                key = f"{arm}, {target}, seed {seed}"
                if key in found:
                    continue
                began, work[0] = time.perf_counter(), 0
                found[key] = search(model, p, arm, seed, positions, lambda: work[0])
                found[key] |= {"positions": work[0], "seconds": round(time.perf_counter() - began, 1)}
                results.write_text(json.dumps(found), encoding="utf-8")
                print(key, found[key]["curve"][-1], found[key]["seconds"], flush=True)


def search(
    model: LanguageModel, target: Tensor, arm: str, seed: int, positions: int, work: Callable[[], int]
) -> dict[str, Any]:
    """The best divergence at each point of the work; null where nothing was measured yet."""
    spec = specs.RunSpec(target=specs.Uniform(), search=ARMS[arm], seed=seed, budget=specs.Budget(steps=positions))
    running = make_search(model, target, spec, print)
    points = points_of(positions)
    curve: list[float | None] = []
    best, steps = None, 0
    for step in running.steps():
        steps = step.index
        curve += [best] * int((points[len(curve) :] < work()).sum())
        best = round(running.best.kl, 6)
        if len(curve) == POINTS:
            break
    return {"curve": curve + [best] * (POINTS - len(curve)), "steps": steps}


def exhaustive(name: str) -> None:
    """Which targets' best prompt of one token the searches find, and how many tokens they have measured by then.

    The truth is a plain loop over all tokens that survive being written as text, one forward pass for all targets. The
    searches look the divergences up in what the loop found: without a context they depend on the token alone.
    """
    model, made = load(name, (TARGETS[target] for target in ONE_TOKEN_TARGETS))
    tokens = usable_ids(model)
    tokens = tokens[torch.tensor(surviving(model, tokens[:, None].tolist()))]
    table = torch.full((len(made), model.vocab_size), torch.inf)
    table[:, tokens] = plain_loop(model, made.float(), tokens)
    print(f"{len(tokens):,} tokens")
    for target, p, kls in zip(ONE_TOKEN_TARGETS, made, table, strict=True):
        truth = int(kls.argmin())
        print(f"{target:24} {model.vocabulary.text(truth)!r:16} {kls[truth]:.4f}", end="")
        for settings in (specs.Hard(length=1), specs.Exhaustive()):
            spec = specs.RunSpec(target=specs.Uniform(), search=settings)
            print(f"   {settings.method} {measured_until_found(make_search(model, p, spec, print), kls)}", end="")
        print(flush=True)


def measured_until_found(running: Any, kls: Tensor) -> str:
    """How many tokens a search for one token measures until it has the best of all."""
    measured = 0

    def look_up(prompts: Tensor, parent: object) -> Tensor:
        nonlocal measured
        measured += len(prompts)
        return kls[prompts[:, 0]]

    running._evaluator._measure_new = look_up
    for step in running.steps():
        if running.best.kl <= kls.min():
            return f"after {measured:,}, step {step.index}"
    return f"never: {running.best.kl:.4f}"


@torch.no_grad()
def plain_loop(model: LanguageModel, targets: Tensor, tokens: Tensor) -> Tensor:
    """KL(p ‖ q) = logsumexp(z) − p·z − H(p) of every token from every target, (targets, tokens), float32."""
    parts = []
    for chunk in tokens[:, None].split(LOOP_BATCH):
        logits = model.next_token_logits(chunk)
        expected = torch.where(model.head.allowed, logits, 0) @ targets.T
        parts.append(logits.logsumexp(-1, keepdim=True) - expected - entropy(targets))
    return torch.cat(parts).T


def points_of(positions: int) -> NDArray[np.float64]:
    """The curve's points, in positions; the last one is all of the work."""
    points = np.geomspace(FIRST_POINT * positions, positions, POINTS)
    points[-1] = positions
    return points


def table(found: dict[str, Any]) -> None:
    """What is left above the head limit, and how hard compares with gcg."""
    limits = found["head_limits"]
    print(f"{'target':24} {'limit':>8}" + "".join(f" {arm:>10}" for arm in ARMS))
    for target in limits:
        ends = {arm: [curve[-1] for curve in curves(found, arm, target)] for arm in ARMS}
        row = [statistics.median(values) - limits[target] if values else math.nan for values in ends.values()]
        print(f"{target:24} {limits[target]:8.4f}" + "".join(f" {value:10.4f}" for value in row))
    print("(what is left above the head limit, nats, median of the seeds)")
    pairs = [
        (hard, gcg, limits[target])
        for target in limits
        for hard, gcg in zip(curves(found, "hard", target), curves(found, "gcg", target), strict=False)
    ]
    if not pairs:
        return
    print(f"hard ends below gcg on {sum(hard[-1] < gcg[-1] for hard, gcg, _ in pairs)} of {len(pairs)} pairs")
    ratios = np.array([left(hard, limit) / left(gcg, limit) for hard, gcg, limit in pairs])
    low, high = interval(ratios)
    print(f"left by hard over left by gcg: median {np.median(ratios):.3f}, 95 % interval {low:.3f} to {high:.3f}")
    points = points_of(found["positions"])
    shares = [reached(points, hard, gcg[-1]) / reached(points, gcg, gcg[-1]) for hard, gcg, _ in pairs]
    print(f"work in which hard reaches gcg's end, over gcg's: median {statistics.median(shares):.3f}")
    print(f"hard never reaches it on {sum(map(math.isinf, shares))} of {len(pairs)} pairs")


def curves(found: dict[str, Any], arm: str, target: str) -> list[list[float]]:
    """The curves of the seeds that are there."""
    keys = (f"{arm}, {target}, seed {seed}" for seed in SEEDS)
    return [[math.inf if kl is None else kl for kl in found[key]["curve"]] for key in keys if key in found]


def left(curve: list[float], limit: float) -> float:
    """Nats between a curve's end and the head limit."""
    return max(curve[-1] - limit, LEAST_LEFT)


def interval(ratios: NDArray[np.float64]) -> tuple[float, float]:
    """95 % bootstrap interval of the median; a ratio's two sides are of one target and seed."""
    drawn = np.random.default_rng(0).integers(len(ratios), size=(RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(ratios[drawn], axis=1), [0.025, 0.975])
    return float(low), float(high)


def reached(points: NDArray[np.float64], curve: list[float], kl: float) -> float:
    """The first point at which a curve is as low as `kl`; infinite where it never is."""
    return next((float(point) for point, value in zip(points, curve, strict=True) if value <= kl), math.inf)


if __name__ == "__main__":
    main()
