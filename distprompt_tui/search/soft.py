"""Soft prompts: gradient descent on vectors in the model's input-embedding space."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from distprompt_tui.core.config.search_specs import Soft
from distprompt_tui.core.metrics.divergence import entropy, logits_kl
from distprompt_tui.models.compiled import compiled
from distprompt_tui.models.gradient import backward_pass
from distprompt_tui.models.graph_capture import Outputs, capture_for
from distprompt_tui.models.head import MIN_GEMM_ROWS
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.large_matrix import standard_deviation
from distprompt_tui.search.batching import AdaptiveBatchSize, NonFiniteWarnings
from distprompt_tui.search.captured_calls import CapturedCalls, FastPath
from distprompt_tui.search.ggt import GGT
from distprompt_tui.search.initialization import prompt_vectors, random_ids, text_ids
from distprompt_tui.search.protocol import Best, SearchState, SoftPrompt, Step

BETAS = (0.9, 0.99)  # adam's decay rates; with 0.999, the second moment has not converged at the end of a short search

UPDATES_PER_REPORT_ON_GPU = 10  # a report copies the divergences to the host, which waits for the GPU

SPIKE_NATS = 2.0
"""A prompt with a divergence this far above its lowest has jumped to a plateau. Without a roll-back, one search in
twenty spends the remaining steps there."""

LR_BACKOFF, LR_RECOVERY = 0.25, 1.1
"""Factor on the step length after a spike, and its growth per step until the full length."""

ELIMINATION_FRACTION = 0.2
"""Fraction of the steps after which one restart remains: the best one then is mostly the best at the end."""


@dataclass(frozen=True)
class Leaders:
    """The leading prompts of a batch.

    Attributes:
        current: row of the lowest newest divergence.
        best: row of the lowest divergence so far.
        best_kl: that divergence, nats.
        best_step: its step.
    """

    current: int
    best: int
    best_kl: float
    best_step: int


class SoftBatch:
    """A batch of prompts optimised together, each for its own target.

    Neither measurements nor updates synchronise the host with the device, provided that the model's forward pass does
    not (`models.forward.forward_without_waiting`).

    After the first measurement, which a viewer waits for, the following ones run as a graph on devices that have them,
    and as compiled code if the model asks for it. Each falls back to plain calls after its first error.

    Args:
        targets: p of each prompt, (b, V), probabilities; or (1, V) for a common target.
        prompts: initial prompts, (b, n, d).
        total_steps: number of updates in the schedule.
        warn: receives messages for the user.

    Attributes:
        step: number of updates so far.
        positions: work so far, in token positions through the backbone; a backward pass counts as two.
        batch: batch size.
        prompts: current prompts, (b, n, d) float32.
        kls: newest divergences, nats, (b,).
        logits: newest logits, (b, V).
        best_kls: lowest divergence of each prompt, nats, (b,).
        best_prompts: the corresponding prompts, (b, n, d).
        best_gradients: gradients of the divergence there, (b, n, d).
        best_steps: the corresponding steps, (b,).
        lr_scale: factor on the step length, (b,); below 1 after a spike.
    """

    def __init__(
        self,
        model: LanguageModel,
        targets: Tensor,
        prompts: Tensor,
        settings: Soft,
        total_steps: int,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        model.check_length(settings.length)
        self._model = model
        self._compiled_model = replace(model, forward=compiled(model.forward)) if model.compile else model
        self._compilation = FastPath("compiled code", model.compile, warn)
        capture = capture_for(model.device)
        self._captured = None if capture is None else CapturedCalls(capture)
        self._capturing = FastPath("captured graphs", capture is not None, warn)
        self._is_first = True
        self._entropies = entropy(targets.double().cpu()).to(model.device, torch.float32)
        self._targets = targets.to(model.device, torch.float32)
        self._settings = settings
        self._total = total_steps
        self._lr = settings.lr * float(standard_deviation(model.embedding_matrix))
        self.step = 0
        self.positions = 0
        self.batch = AdaptiveBatchSize(len(prompts))
        self.prompts = prompts.clone().requires_grad_()
        self._optimizer = _optimizer(settings, self.prompts, self._lr)
        self.kls = torch.full((len(prompts),), torch.inf, device=model.device)
        self.logits = torch.zeros(len(prompts), model.vocab_size, device=model.device)
        self.best_kls = torch.full((len(prompts),), torch.inf, device=model.device)
        self.best_prompts = prompts.clone()
        self.best_gradients = torch.zeros_like(prompts)
        self.best_steps = torch.zeros(len(prompts), dtype=torch.long, device=model.device)
        self.lr_scale = torch.ones(len(prompts), device=model.device)

    def measure(self) -> None:
        """Compute divergences and gradients of the current prompts; update the best ones."""
        parts = self.batch.run(len(self.prompts), self._measure)
        self.kls, self.logits, self.prompts.grad = (torch.cat(part) for part in zip(*parts, strict=True))
        better = self.kls < self.best_kls
        self.best_kls = torch.where(better, self.kls, self.best_kls)
        self.best_steps = torch.where(better, self.step, self.best_steps)
        self.best_prompts = torch.where(better[:, None, None], self.prompts.detach(), self.best_prompts)
        self.best_gradients = torch.where(better[:, None, None], self.prompts.grad, self.best_gradients)
        self._is_first = False

    def _measure(self, rows: slice) -> Outputs:
        of_targets = rows if len(self._targets) > 1 else slice(None)
        of_model = partial(_measured, targets=self._targets[of_targets], entropies=self._entropies[of_targets])
        prompts = self.prompts.detach()[rows]
        if self._is_first:
            return of_model(self._model, prompts)

        def measured(prompts: Tensor) -> Outputs:
            return self._compilation.run(
                lambda: of_model(self._compiled_model, prompts), lambda: of_model(self._model, prompts)
            )

        if (captured := self._captured) is None:
            return measured(prompts)
        outputs = self._capturing.run(lambda: captured.run(rows, measured, prompts), lambda: measured(prompts))
        if not self._capturing.is_on:
            self._captured = None
        return outputs

    @torch.no_grad()
    def update(self) -> None:
        """Update the prompts with the gradients of `measure`; after a spike, continue from the best prompt."""
        self.roll_back(~(self.kls <= self.best_kls + SPIKE_NATS))  # includes NaN
        before = self.prompts.clone()
        self._optimizer.param_groups[0]["lr"] = self._lr * schedule(self.step, self._total, self._settings)
        self._optimizer.step()
        self.prompts.copy_(torch.lerp(before, self.prompts, self.lr_scale[:, None, None]))
        self.lr_scale = (self.lr_scale * LR_RECOVERY).clamp_max(1)
        self.step += 1
        self.count_measurement()

    def count_measurement(self) -> None:
        """Add the work of one measurement of all prompts to `positions`."""
        around = len(self._model.prefix_ids) + len(self._model.suffix_ids)
        self.positions += 3 * len(self.prompts) * (self._settings.length + around)

    @torch.no_grad()
    def roll_back(self, lost: Tensor) -> None:
        """Reset some prompts, (b,) bool, to their best, and shorten their steps."""
        assert self.prompts.grad is not None
        self.prompts.copy_(torch.where(lost[:, None, None], self.best_prompts, self.prompts))
        self.prompts.grad = torch.where(lost[:, None, None], self.best_gradients, self.prompts.grad)
        self.lr_scale = torch.where(lost, LR_BACKOFF * self.lr_scale, self.lr_scale)

    def report(self, kls: list[Tensor]) -> tuple[list[float], Leaders]:
        """Copy some divergences, scalars, and the leading prompts to the host, in one transfer.

        Returns:
            The divergences in nats, and the prompts with the lowest newest and the lowest best divergence.
        """
        # Rows and steps are exact in float32 below 2²⁴; not every device has float64.
        current, best = self.kls.argmin(), self.best_kls.argmin(keepdim=True)
        numbers = [*kls, current, best, self.best_kls.gather(0, best), self.best_steps.gather(0, best)]
        *values, current_row, best_row, best_kl, best_step = torch.cat([x.view(1).float() for x in numbers]).tolist()
        return values, Leaders(int(current_row), int(best_row), best_kl, int(best_step))

    def select(self, rows: Tensor) -> None:
        """Keep only some of the prompts, by index, (fewer,)."""
        state = self.state_dict()
        kept = {name: tensor[rows] if tensor.ndim else tensor for name, tensor in state.tensors.items()}
        self.load_state_dict(SearchState(kept, state.numbers))
        self.kls, self.logits = self.kls[rows], self.logits[rows]
        if len(self._targets) > 1:
            self._targets, self._entropies = self._targets[rows], self._entropies[rows]
        if self._captured is not None:
            self._captured.clear()

    def state_dict(self) -> SearchState:
        tensors = {
            "prompts": self.prompts.detach(),
            "best_prompts": self.best_prompts,
            "best_gradients": self.best_gradients,
            "best_kls": self.best_kls,
            "best_steps": self.best_steps,
            "pace": self.lr_scale,
            **{f"optimizer.{name}": value for name, value in self._optimizer.state.get(self.prompts, {}).items()},
        }
        return SearchState(
            {name: tensor.clone() for name, tensor in tensors.items()},
            {
                "step": self.step,
                "positions": self.positions,
                "batch": self.batch.size,
                "fitted": self.batch.successes,
            },
        )

    def load_state_dict(self, state: SearchState) -> None:
        device = self._model.device
        self.step, self.positions = state.numbers["step"], state.numbers["positions"]
        self.batch.size, self.batch.successes = state.numbers["batch"], state.numbers["fitted"]
        initial_values = {
            "best_gradients": torch.zeros_like(state.tensors["best_prompts"]),
            "pace": torch.ones(len(state.tensors["best_prompts"])),
        }
        tensors = initial_values | state.tensors  # earlier versions wrote neither
        self.best_prompts, self.best_gradients, self.best_kls, self.best_steps, self.lr_scale = (
            tensors[name].to(device) for name in ("best_prompts", "best_gradients", "best_kls", "best_steps", "pace")
        )
        self.prompts = state.tensors["prompts"].to(device).requires_grad_()
        self._optimizer = _optimizer(self._settings, self.prompts, self._lr)
        own = {name.partition(".")[2]: value for name, value in state.tensors.items() if name.startswith("optimizer.")}
        if own:
            self._optimizer.state[self.prompts] = {
                name: value if name == "step" else value.to(device) for name, value in own.items()
            }


class SoftSearch:
    """Gradient descent on `length` vectors towards p, (V,), with warm-up and decay; see `search.protocol.Search`.

    `total_steps` is the number of updates in the schedule. `seed` is for the initial prompts; everything else is
    deterministic. `warn` receives messages for the user.
    """

    with_gradient = True

    def __init__(
        self,
        model: LanguageModel,
        target: Tensor,
        settings: Soft,
        total_steps: int,
        seed: int,
        warn: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._nonfinite_warnings = NonFiniteWarnings(warn)
        prompts = [initial_vectors(model, settings, seed + index) for index in range(settings.restarts)]
        self._batch = SoftBatch(model, target[None], torch.stack(prompts), settings, total_steps, warn)
        self._total = total_steps
        self._eliminations = elimination_schedule(settings.restarts, total_steps)
        self._updates_per_report = 1 if model.device.type == "cpu" else UPDATES_PER_REPORT_ON_GPU
        self._leaders: Leaders | None = None  # of the latest report; None after other changes

    def steps(self) -> Iterator[Step]:
        batch = self._batch
        unreported: list[Tensor] = []
        while True:
            batch.measure()
            unreported.append(batch.kls.min())
            if len(unreported) >= self._updates_per_report or batch.step in (0, self._total):
                kls, self._leaders = batch.report(unreported)
                yield Step(batch.step, self._checked(kls), batch.positions)
                unreported.clear()
            if batch.step >= self._total:
                return
            self._leaders = None
            batch.update()
            if batch.step in self._eliminations:
                batch.select(batch.best_kls.argsort()[: self._eliminations[batch.step]])

    def _checked(self, kls: list[float]) -> tuple[float, ...]:
        """Return the divergences to report; if the last is not finite, measure the best prompt again in its place.

        After an earlier one, the next update has gone back to the best prompt.
        """
        if lost := sum(not math.isfinite(kl) for kl in kls):
            self._nonfinite_warnings.add(lost, "the search goes back to the best prompt")
        if not math.isfinite(kls[-1]):
            self._batch.roll_back(~self._batch.kls.isfinite())
            self._batch.measure()
            self._batch.count_measurement()
            kls[-1:], self._leaders = self._batch.report([self._batch.kls.min()])
        return tuple(kls)

    def _newest_leaders(self) -> Leaders:
        if self._leaders is None:
            _, self._leaders = self._batch.report([])
        return self._leaders

    @property
    def current(self) -> tuple[SoftPrompt, Tensor]:
        leader = self._newest_leaders().current
        return SoftPrompt(self._batch.prompts.detach()[leader]), self._batch.logits[leader]

    @property
    def best(self) -> Best:
        batch, leaders = self._batch, self._newest_leaders()
        return Best(leaders.best_kl, SoftPrompt(batch.best_prompts[leaders.best]), leaders.best_step)

    def state_dict(self) -> SearchState:
        return self._batch.state_dict()

    def load_state_dict(self, state: SearchState) -> None:
        self._batch.load_state_dict(state)
        self._leaders = None


def _measured(model: LanguageModel, prompts: Tensor, targets: Tensor, entropies: Tensor) -> Outputs:
    """Compute divergences, (b,), logits, (b, V), and gradients, (b, n, d), of prompts, (b, n, d).

    `targets` are (b, V) or (1, V), `entropies` (b,) or (1,).
    """
    prompts = prompts.detach().requires_grad_()
    copies = math.ceil(MIN_GEMM_ROWS / prompts[..., 0].numel())  # the minimum of rows also for the backbone
    logits = model.next_token_logits(prompts.repeat(copies, 1, 1))[: len(prompts)]
    kls = logits_kl(targets, logits, entropies)
    with backward_pass(model.name):
        (gradient,) = torch.autograd.grad(kls.sum(), prompts)
    return kls.detach(), logits.detach(), gradient


def _optimizer(settings: Soft, prompts: Tensor, lr: float) -> torch.optim.Optimizer:
    if settings.optimizer == "adam":
        return torch.optim.Adam([prompts], lr=lr, betas=BETAS)
    return GGT([prompts], lr=lr, memory=settings.memory)


def elimination_schedule(restarts: int, total: int) -> dict[int, int]:
    """Return the number of remaining prompts by step, with one left at `ELIMINATION_FRACTION` of the steps."""
    return {
        max(1, round(ELIMINATION_FRACTION * total * rank / (restarts - 1))): restarts - rank
        for rank in range(1, restarts)
    }


def schedule(step: int, total: int, settings: Soft) -> float:
    """Return the learning-rate factor of the update after `step`: linear warm-up, then cosine decay to zero."""
    warmup = min((step + 1) / (settings.warmup + 1), 1.0)
    if settings.decay == "none":
        return warmup
    return warmup * 0.5 * (1 + math.cos(math.pi * step / max(total, 1)))


def initial_vectors(model: LanguageModel, settings: Soft, seed: int) -> Tensor:
    """Return the initial prompt, (n, d) float32, at the scale of the model's embeddings.

    `settings.init` is "vocabulary" (random tokens), "text" (repeated or cut to length), "random" (normal, with the
    embeddings' mean and deviation) or "prompt" (an existing soft or hard prompt). Random draws are on the CPU, so that
    the initial prompt is equal on every device.

    Raises:
        UsageError: the text has no tokens, or the prompt does not fit the model or the length.
    """
    generator = torch.Generator().manual_seed(seed)
    if settings.init == "random":
        return model.random_vectors(settings.length, generator)
    if settings.init_prompt is not None:
        return prompt_vectors(model, Path(settings.init_prompt), settings.length)
    if settings.init_text is not None:
        return model.embedding(text_ids(model, settings.init_text, settings.length)).clone()
    return model.embedding(random_ids(model, (settings.length,), generator)).clone()
