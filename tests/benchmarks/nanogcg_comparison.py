"""Hard search against nanoGCG itself, at the work of 25 of its steps.

    sh tests/benchmarks/nanogcg_setup.sh ENVIRONMENT
    python tests/benchmarks/nanogcg_comparison.py check ENVIRONMENT   compares the logits of the two environments
    python tests/benchmarks/nanogcg_comparison.py run ENVIRONMENT [--arm ARM] [--targets TARGET...] [--seed SEED]
    python tests/benchmarks/nanogcg_comparison.py table

`run` adds a line to the results file for each arm, target and seed that it does not hold yet; it can be stopped and
repeated. Both arms have ten tokens, no text around the prompt, the same initial prompt and float32. nanoGCG has its
defaults and is not modified; `nanogcg_arm.py` gives it the loss. `hard` has its defaults except for the initial prompt.

Work is the sum of positions through the model's body and rows of its output layer, weighted by their multiplications; a
backward pass counts as two forward passes. `hard` stops at the work that nanoGCG would need if it ran the body up to
the prompt's last token and the output layer for that token alone. nanoGCG itself also runs the target token, and the
output layer at every position.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from soft import TARGETS, load
from torch import Tensor

from distprompt_tui.bounds.cache import solve_bounds
from distprompt_tui.core.config.search_specs import Hard
from distprompt_tui.core.config.spec import Budget, ModelSpec, RunSpec
from distprompt_tui.core.config.target_specs import Uniform
from distprompt_tui.core.metrics.divergence import compare, entropy
from distprompt_tui.models.bf16_copy import in_half_precision
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prepare import ignore_progress, prepare_by_name
from distprompt_tui.models.token_features import token_features
from distprompt_tui.search import make_search
from distprompt_tui.search.protocol import Best, HardPrompt
from distprompt_tui.worker.model_provider import load_by_name

ARMS = ("nanogcg", "hard")
LENGTH = 10
START = " ".join("x" * LENGTH)
"""nanoGCG's initial prompt, with ten tokens instead of twenty."""

NANOGCG_SETTINGS = {"num_steps": 25, "optim_str_init": START}
HARD_SETTINGS = Hard(length=LENGTH, init="text", init_text=START)
NO_END = 10**9

SAME_LOGITS = 1e-4  # largest difference of a logit between the environments
SAME_KL = 1e-3  # nats; a larger difference between the ids' and the text's divergence means that the text is other ids

ResultRow = dict[str, Any]
Found = dict[tuple[str, str, int], ResultRow]
"""By arm, target and seed."""


def main() -> None:
    """Check, run or print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("check", "run", "table"))
    parser.add_argument("environment", type=Path, nargs="?")
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--arm", choices=ARMS, action="append")
    parser.add_argument("--targets", nargs="+", choices=list(TARGETS), default=list(TARGETS))
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    folder = Path(__file__).parents[2] / "docs" / "benchmarks"
    results = folder / f"nanogcg-{asked.model}.jsonl"
    if asked.command == "table":
        print_table(read(results), read(folder / f"hard-{asked.model}.jsonl"))
        return
    torch.set_num_threads(1)
    if asked.command == "check":
        print(f"largest difference of a logit: {logit_difference(asked.environment, asked.model):.1e}")
        return
    for arm in asked.arm or ARMS:
        run(arm, asked.environment, asked.model, asked.targets, asked.seed, results)


def read(results: Path) -> Found:
    """Read the rows of a results file."""
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    return {(row["arm"], row["target"], row["seed"]): row for row in map(json.loads, lines)}


def run(arm: str, environment: Path, name: str, targets: list[str], seed: int, results: Path) -> None:
    """Run an arm on the targets without a row; `hard` skips those without a row of nanoGCG, whose work it takes."""
    model, made = load(name, TARGETS.values())
    all_p = dict(zip(TARGETS, made, strict=True))
    counter = WorkCounter(model)
    for target in targets:
        found, p = read(results), all_p[target]
        theirs = found.get(("nanogcg", target, seed))
        if (arm, target, seed) in found or (arm == "hard" and theirs is None):
            continue
        *_, bounds = solve_bounds(model.head, p)
        row: ResultRow = {"arm": arm, "target": target, "seed": seed, "head_optimum": bounds.head_optimum}
        row |= hard(model, p, seed, theirs["work"], counter) if theirs else nanogcg(environment, model, name, p, seed)
        row |= rescore(name, row["string"], p, row["ids_kl"])
        with results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(arm, target, row["kl"], row["ids_kl"], row["work"], row["seconds"], flush=True)


def nanogcg(environment: Path, model: LanguageModel, name: str, p: Tensor, seed: int) -> ResultRow:
    """Run nanoGCG on a target p, (V,), in its environment.

    `losses` are the divergences of the prompts that its steps chose, nats; `prompts` counts each prompt that was run,
    three times where a gradient was computed.
    """
    settings = NANOGCG_SETTINGS | {"seed": seed}
    with tempfile.TemporaryDirectory() as place:
        target = Path(place) / "target.npy"
        np.save(target, p.numpy())
        printed = start(environment, "search", prepare_by_name(name, ignore_progress), target, json.dumps(settings))
    found = json.loads(printed.splitlines()[-1])
    prompts = sum(size * factor for size, factor in found.pop("passes"))
    h = float(entropy(p))
    return found | {
        "settings": settings,
        "prompts": prompts,
        "work": work(model, prompts * LENGTH, prompts),
        "work_as_run": work(model, prompts * (LENGTH + 1), prompts * (LENGTH + 1)),
        "losses": [round(loss - h, 6) for loss in found["losses"]],
        "ids_kl": found.pop("best_ce") - h,
    }


def start(environment: Path, *arguments: str | Path) -> str:
    """Run `nanogcg_arm.py` and return what it prints."""
    script = Path(__file__).with_name("nanogcg_arm.py")
    command = [environment / "bin" / "python", script, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def work(model: LanguageModel, positions: int, rows: int) -> int:
    """Return the work of positions of the body and rows of the output layer, in positions of the body.

    A position multiplies with every weight of the body but the input embeddings, a row with all of the output layer.
    """
    body = sum(weight.numel() for weight in model.backbone.parameters()) - model.embedding_matrix.numel()
    return round(positions + rows * model.head.weight.numel() / body)


class WorkCounter:
    """Counts the work of a model and its copy in half precision: positions, and an output row for each prompt."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self.restart()
        for each in (model, in_half_precision(model)):
            each.backbone.register_forward_pre_hook(self._count, with_kwargs=True)

    def restart(self) -> None:
        self.positions = self.rows = 0

    def _count(self, module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        batch, length, _ = kwargs["inputs_embeds"].shape
        self.positions += batch * length
        self.rows += batch

    @property
    def work(self) -> int:
        return work(self._model, self.positions, self.rows)


def hard(model: LanguageModel, p: Tensor, seed: int, until: int, counter: WorkCounter) -> ResultRow:
    """Run `hard` on a target p, (V,). The last step that ends within the work `until` counts."""
    token_features(model)  # once for a model, not counted
    spec = RunSpec(target=Uniform(), search=HARD_SETTINGS, seed=seed, budget=Budget(steps=NO_END))
    counter.restart()
    began = time.process_time()
    running = make_search(model, p, spec, print)
    path: list[tuple[int, Best]] = []
    for _ in running.steps():
        if counter.work > until:
            break
        if not path or running.best.kl < path[-1][1].kl:
            path.append((counter.work, running.best))
    best = path[-1][1]
    assert isinstance(best.prompt, HardPrompt)
    return {
        "string": model.vocabulary.decode(best.prompt.ids.tolist()),
        "ids": best.prompt.ids.tolist(),
        "settings": HARD_SETTINGS.model_dump(),
        "work": until,
        "path": [(done, round(each.kl, 6)) for done, each in path],
        "ids_kl": best.kl,
        "seconds": round(time.process_time() - began, 1),
    }


def rescore(name: str, string: str, p: Tensor, ids_kl: float) -> ResultRow:
    """Compute the divergence of a prompt's text with a model that is loaded anew in float32.

    Returns:
        `kl`, nats; None if the text is another prompt than the search's ids: if it is not `LENGTH` tokens, or differs
        from their divergence, `ids_kl`, by more than `SAME_KL`.
    """
    model, _ = load_by_name(ModelSpec(name=name, device="cpu", dtype="float32"), ignore_progress)
    ids = model.encode_prompt(string)
    with torch.no_grad():
        kl = compare(p, model.next_token_logits(torch.tensor([ids]))[0]).numbers.kl
    return {"kl": kl if len(ids) == LENGTH and abs(kl - ids_kl) <= SAME_KL else None, "text_tokens": len(ids)}


def logit_difference(environment: Path, name: str) -> float:
    """Return the largest difference between the logits of both environments after eight random prompts.

    Raises:
        SystemExit: it is above `SAME_LOGITS`.
    """
    model, folder = load_by_name(ModelSpec(name=name, device="cpu", dtype="float32"), ignore_progress)
    ids = torch.randint(model.vocab_size, (8, LENGTH), generator=torch.Generator().manual_seed(0))
    with tempfile.TemporaryDirectory() as place:
        asked, answer = Path(place) / "ids.npy", Path(place) / "logits.npy"
        np.save(asked, ids.numpy())
        start(environment, "logits", folder, asked, answer)
        theirs = torch.from_numpy(np.load(answer))
    with torch.no_grad():
        difference = float((model.next_token_logits(ids) - theirs).abs().max())
    if difference > SAME_LOGITS:
        raise SystemExit(f"the logits differ by up to {difference:.1e}, more than {SAME_LOGITS:.0e}")
    return difference


def print_table(found: Found, defaults: Found) -> None:
    """Print the excess above the head optimum and nanoGCG's work by target, as the table in docs/hard-search.md.

    Args:
        found: rows of `run`; targets without a row of nanoGCG with seed 0 are left out.
        defaults: rows of `hard.py run`; the mean of the seeds of `hard` is printed.
    """
    print("| target | head optimum | nanoGCG | hard, same start | hard, defaults | work of nanoGCG | as it runs |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    below = []
    for target in TARGETS:
        theirs, ours = (found.get((arm, target, 0)) for arm in ARMS)
        if theirs is None:
            continue
        ends = [row["path"][-1][-1] for (arm, name, _), row in defaults.items() if (arm, name) == ("hard", target)]
        mean = statistics.mean(ends)
        below.append(theirs["kl"] is None or mean < theirs["kl"])
        optimum: float = theirs["head_optimum"]
        works = (f"{theirs[name]:,}" for name in ("work", "work_as_run"))
        same_start = excess_of(ours) if ours else "–"
        cells = (target, f"{optimum:.4f}", excess_of(theirs), same_start, f"{mean - optimum:.3f}", *works)
        print("| " + " | ".join(cells) + " |")
    print(f"With its defaults, `hard` ends below nanoGCG on {sum(below)} of {len(below)} targets")


def excess_of(row: ResultRow) -> str:
    """Format the excess above the head optimum, nats; "failed" where the text is another prompt."""
    return "failed" if row["kl"] is None else f"{row['kl'] - row['head_optimum']:.3f}"


if __name__ == "__main__":
    main()
