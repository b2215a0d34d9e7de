"""Hard search against gcg, hotflip and random swaps, at equal work.

    python tests/benchmarks/hard.py run [MODEL [ARM...]]   adds what is missing; can be stopped and go on
    python tests/benchmarks/hard.py table [MODEL]          prints the findings on what is there
    python tests/benchmarks/hard.py ablate [MODEL]         hard without each of its parts, adds what is missing, prints
    python tests/benchmarks/hard.py widths [MODEL]         hard by candidates and chains at equal numbers of steps
    python tests/benchmarks/hard.py exhaustive [MODEL]     the best one-token prompts, by a plain loop and by search

The work of a target and seed is what 25 steps of gcg take there, so gcg comes first. It is counted by hooks on the
model's backbone and on its copy in half precision: token positions, a backward pass as two. Every method has its
defaults, ten tokens, and this program's evaluator: gcg too shares beginnings and pays for no prompt twice, so that
what is compared is how they search. What is done once for a model, however many searches there are, is not counted:
that copy, and the tokens' features. Time is the processor's, in one thread, so that arms may run side by side.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from by_target import ratio
from soft import LEAST_LEFT, TARGETS, count_work, draw, load
from torch import Tensor

from distprompt_tui.bounds.cache import solve_bounds
from distprompt_tui.core.config import search_specs, target_specs
from distprompt_tui.core.config import spec as specs
from distprompt_tui.core.metrics.divergence import entropy
from distprompt_tui.models.bf16_copy import in_half_precision
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.token_features import token_features
from distprompt_tui.search import make_search
from distprompt_tui.search.initialization import usable_ids
from distprompt_tui.search.retokenization import is_retokenization_stable

ARMS: dict[str, search_specs.SearchSpec] = {
    "gcg": search_specs.Gcg(),
    "hard": search_specs.Hard(),
    "hotflip": search_specs.Hotflip(),
    "random": search_specs.RandomSwaps(),
}
ABLATIONS: dict[str, search_specs.SearchSpec] = {
    "hard": search_specs.Hard(),
    "nothing learned": search_specs.Hard(memory=0),
    "none at random": search_specs.Hard(explore=0),
    "random start": search_specs.Hard(init="random"),
    "no kicks": search_specs.Hard(patience=0),
    "not screened": search_specs.Hard(draft=False),
    "twice as wide": search_specs.Hard(width=48),
}
ABLATION_POSITIONS = 30_000
WIDTHS: dict[str, search_specs.SearchSpec] = {
    "1 x 24": search_specs.Hard(width=24, chains=1),
    "8 x 24": search_specs.Hard(width=24, chains=8),
    "1 x 256": search_specs.Hard(width=256, chains=1),
}
"""Chains times candidates."""

WIDTH_TARGETS = ("outlier, 4 tokens, H=5", "lm, H=3", "temperature, H=4", "vanilla, H=6")
WIDTH_STEPS = (5, 10, 25)
SEEDS = (0, 1, 2)
GCG_STEPS = 25
NO_END = 10**9

WHOLE = GCG_STEPS * (512 * 10 + 3 * 10)
"""Work of the same steps where every candidate is run whole, as nanoGCG does without a context."""

ONE_TOKEN_TARGETS = tuple(target for target in TARGETS if target not in ("temperature, H=8", "vanilla, H=6"))
LOOP_BATCH = 256

CURVE = (2_000, 62_000)
CURVE_TICKS = (2_000, 5_000, 10_000, 20_000, 60_000)
"""Of the curves' axis, positions."""

ResultRow = dict[str, Any]
Found = dict[tuple[str, str, int], ResultRow]
"""By arm, target and seed."""


def main() -> None:
    """Run or print."""
    command, *rest = sys.argv[1:]
    model = rest[0] if rest else "smollm2"
    folder = Path(__file__).parents[2] / "docs" / "benchmarks"
    results = folder / f"hard-{model}.jsonl"
    if command == "exhaustive":
        exhaustive(model)
    elif command == "widths":
        widths(model, folder / f"hard-widths-{model}.jsonl")
    elif command == "ablate":
        ablate(model, folder / f"hard-ablations-{model}.jsonl")
    elif command == "run":
        run(model, results, rest[1:] or list(ARMS))
    else:
        table(read(results))


def read(results: Path) -> Found:
    """What is there."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    return {(row["arm"], row["target"], row["seed"]): row for row in map(json.loads, lines)}


def run(name: str, results: Path, arms: list[str]) -> None:
    """Every target and seed that the results file does not hold yet; arms but gcg need gcg's work."""
    bench = Bench(name, results)
    for seed in SEEDS:
        for target in TARGETS:
            for arm in arms:
                gcg = read(results).get(("gcg", target, seed))
                if arm == "gcg" or gcg is not None:
                    positions = gcg["positions"] if gcg else NO_END
                    bench.add(arm, ARMS[arm], target, seed, positions, GCG_STEPS if arm == "gcg" else NO_END)


def ablate(name: str, results: Path) -> None:
    """Hard without each of its parts at equal work, one seed: the excess, geometric mean of the targets."""
    bench = Bench(name, results)
    for target in TARGETS:
        for arm, settings in ABLATIONS.items():
            bench.add(arm, settings, target, 0, ABLATION_POSITIONS, NO_END)
    found = read(results)
    for arm in ABLATIONS:
        pairs = [
            (target, *(left_after(ABLATION_POSITIONS, found[name, target, 0]) for name in (arm, "hard")))
            for target in TARGETS
        ]
        seconds = statistics.mean(found[arm, target, 0]["seconds"] for target in TARGETS)
        print(f"{arm:16} in {seconds:.0f} s leaves of what hard does")
        print(f"    {ratio(pairs)}")
        print(f"    without 'two words' {ratio(pair for pair in pairs if pair[0] != 'two words')}")


def widths(name: str, results: Path) -> None:
    """Hard by candidates and chains, one seed: the excess after some steps, geometric mean of the complete targets.

    What is there is printed first.
    """
    print_widths(read(results))
    bench = Bench(name, results)
    for target in WIDTH_TARGETS:
        for arm, settings in WIDTHS.items():
            bench.add(arm, settings, target, 0, NO_END, WIDTH_STEPS[-1])
        print_widths(read(results))


def print_widths(found: Found) -> None:
    """Print a line for each arm that was run, over the targets that all of them have finished."""
    arms = [arm for arm in WIDTHS if any(run == arm for run, _, _ in found)]
    targets = [target for target in WIDTH_TARGETS if arms and all((arm, target, 0) in found for arm in arms)]
    print(f"targets: {'; '.join(targets)}. Excess after {WIDTH_STEPS} steps, positions, seconds of one core:")
    for arm in arms if targets else ():
        rows = [found[arm, target, 0] for target in targets]
        means = [statistics.geometric_mean(left_at_step(step, row) for row in rows) for step in WIDTH_STEPS]
        work = (statistics.mean(row[name] for row in rows) for name in ("positions", "seconds"))
        print(f"{arm:18}", *(f"{mean:8.4f}" for mean in means), *(f"{value:10,.0f}" for value in work))


def left_at_step(step: int, row: ResultRow) -> float:
    """Nats above the head optimum after so many steps."""
    reached = (kl for at, (_, _, kl) in zip(row["path_steps"], row["path"], strict=True) if at <= step)
    return max(min(reached) - row["head_optimum"], LEAST_LEFT)


class Bench:
    """A model in one thread, the targets on it, and a file of results."""

    def __init__(self, name: str, results: Path) -> None:
        torch.set_num_threads(1)
        self._results = results
        self._model, made = load(name, TARGETS.values())
        self._targets = dict(zip(TARGETS, made, strict=True))
        token_features(self._model)
        copy = in_half_precision(self._model)  # before there are hooks: it would have them too
        self._work = [count_work(self._model), count_work(copy)]
        self._limits: dict[str, float] = {}

    def add(
        self, arm: str, settings: search_specs.SearchSpec, target: str, seed: int, positions: int, steps: int
    ) -> None:
        """Search, and write down the path of the best divergence: at which work and seconds it came to which nats."""
        if (arm, target, seed) in read(self._results):
            return
        spec = specs.RunSpec(
            target=target_specs.Uniform(), search=settings, seed=seed, budget=specs.Budget(steps=steps)
        )
        before, began = self._positions, time.process_time()
        running = make_search(self._model, self._targets[target], spec, print)
        path: list[tuple[int, float, float]] = []
        path_steps: list[int] = []
        for step in running.steps():
            if not path or running.best.kl < path[-1][2]:
                path_steps.append(step.index)
                path.append((self._positions - before, round(time.process_time() - began, 2), running.best.kl))
            if self._positions - before >= positions:
                break
        row = {"arm": arm, "target": target, "seed": seed, "positions": self._positions - before}
        row |= {
            "seconds": round(time.process_time() - began, 2),
            "head_optimum": self._head_optimum(target),
            "path": path,
            "path_steps": path_steps,
        }
        with self._results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(arm, target, seed, path[-1], row["positions"], row["seconds"], flush=True)

    @property
    def _positions(self) -> int:
        return sum(count[0] for count in self._work)

    def _head_optimum(self, target: str) -> float:
        if target not in self._limits:
            *_, bounds = solve_bounds(self._model.head, self._targets[target])
            assert bounds.head_optimum is not None
            self._limits[target] = bounds.head_optimum
        return self._limits[target]


def exhaustive(name: str) -> None:
    """Which targets' best prompt of one token the searches find, and how many tokens they have measured by then.

    The truth is a plain loop over all tokens that survive being written as text, one forward pass for all targets. The
    searches look the divergences up in what the loop found: without a context they depend on the token alone.
    """
    model, made = load(name, (TARGETS[target] for target in ONE_TOKEN_TARGETS))
    tokens = usable_ids(model)
    tokens = tokens[torch.tensor(is_retokenization_stable(model, tokens[:, None].tolist()))]
    table = torch.full((len(made), model.vocab_size), torch.inf)
    table[:, tokens] = plain_loop(model, made.float(), tokens)
    print(f"{len(tokens):,} tokens")
    for target, p, kls in zip(ONE_TOKEN_TARGETS, made, table, strict=True):
        truth = int(kls.argmin())
        print(f"{target:24} {model.vocabulary.text(truth)!r:16} {kls[truth]:.4f}", end="")
        for settings in (search_specs.Hard(length=1), search_specs.Exhaustive()):
            spec = specs.RunSpec(target=target_specs.Uniform(), search=settings)
            print(f"   {settings.method} {measured_until_found(make_search(model, p, spec, print), kls)}", end="")
        print(flush=True)


def measured_until_found(running: Any, kls: Tensor) -> str:
    """How many tokens a search for one token measures until it has the best of all."""
    measured = 0

    def look_up(prompts: Tensor, *rest: object) -> tuple[Tensor, Tensor]:
        nonlocal measured
        measured += len(prompts)
        return kls[prompts[:, 0]], torch.ones(len(prompts), dtype=torch.bool)

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


def table(found: Found) -> None:
    """What is left above the head optimum, and how hard compares with the others."""
    print(f"{'target':24} {'limit':>8}" + "".join(f" {arm:>10}" for arm in ARMS))
    for target in TARGETS:
        rows = {arm: [row for seed in SEEDS if (row := found.get((arm, target, seed)))] for arm in ARMS}
        if not rows["gcg"]:
            continue
        print(f"{target:24} {rows['gcg'][0]['head_optimum']:8.4f}", end="")
        medians = (statistics.median(left(row, found) for row in some) if some else math.nan for some in rows.values())
        print("".join(f" {median:10.4f}" for median in medians))
    print("(what is left above the head optimum at equal work, nats, median of the seeds)")
    for other in ARMS:
        if other != "hard" and (pairs := pairs_with(other, found)):
            lefts = [(hard["target"], left(hard, found), left(row, found)) for hard, row in pairs]
            below = sum(hard < row for _, hard, row in lefts)
            median = statistics.median(hard / row for _, hard, row in lefts)
            print(f"hard ends below {other} on {below} of {len(pairs)} pairs; left by hard over left by it:")
            print(f"    median of the pairs {median:.3f}; {ratio(lefts)}")
    if not (pairs := pairs_with("gcg", found)):
        return
    work, seconds = zip(*(reached(hard, gcg["path"][-1][2]) for hard, gcg in pairs), strict=True)
    shares = [done / gcg["positions"] for done, (_, gcg) in zip(work, pairs, strict=True)]
    times = [spent / gcg["seconds"] for spent, (_, gcg) in zip(seconds, pairs, strict=True)]
    print(f"hard reaches gcg's end with {statistics.median(shares):.4f} of its work (median),")
    print(f"    {statistics.median(work) / WHOLE:.4f} of it where every candidate of gcg were run whole,")
    print(f"    and {statistics.median(times):.4f} of its seconds; never on {sum(map(math.isinf, work))} pairs")
    curves(found)


def pairs_with(other: str, found: Found) -> list[tuple[ResultRow, ResultRow]]:
    """Rows of hard and of another arm, of the same target and seed."""
    return [(row, found[other, *key]) for (arm, *key), row in found.items() if arm == "hard" and (other, *key) in found]  # type: ignore[index]


def curves(found: Found) -> None:
    """The excess as the work grows, over gcg's at its end: the median of each arm, both axes logarithmic."""
    works = np.geomspace(*CURVE, 60)
    lines = {}
    for arm in dict.fromkeys(arm for arm, _, _ in found):
        rows = [(row, found["gcg", target, seed]) for (name, target, seed), row in found.items() if name == arm]
        ratios = [[left_after(work, row) / left(gcg, found) for row, gcg in rows] for work in works]
        lines[arm] = (works.tolist(), [statistics.median(some) for some in ratios])
    draw(lines, (0.7, 1, 1.5, 2, 3), "positions", CURVE_TICKS)


def left(row: ResultRow, found: Found) -> float:
    """Nats above the head optimum when as much was worked as gcg did on the same target and seed."""
    return left_after(found["gcg", row["target"], row["seed"]]["positions"], row)


def left_after(positions: float, row: ResultRow) -> float:
    """Nats above the head optimum after so many positions."""
    return max(min(kl for work, _, kl in row["path"] if work <= positions) - row["head_optimum"], LEAST_LEFT)


def reached(row: ResultRow, kl: float) -> tuple[float, float]:
    """The work and the seconds at which a path was as low as `kl`; infinite where it never was."""
    return next(((work, seconds) for work, seconds, value in row["path"] if value <= kl), (math.inf, math.inf))


if __name__ == "__main__":
    main()
