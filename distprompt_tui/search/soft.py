"""Soft prompts: gradient descent on vectors in the model's input-embedding space."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from distprompt_tui.config.spec import Soft
from distprompt_tui.metrics.divergence import entropy, logits_kl
from distprompt_tui.models.head import MIN_GEMM_ROWS
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.batching import AdaptiveBatchSize, NonFiniteWarnings
from distprompt_tui.search.ggt import GGT
from distprompt_tui.search.initialization import prompt_vectors, random_ids, text_ids
from distprompt_tui.search.protocol import Best, SearchState, SoftPrompt, Step

BETAS = (0.9, 0.99)
"""Adam's decay rates; with 0.999 the second moment is still warming up when a short search ends."""

UPDATES_PER_REPORT_ON_GPU = 8
"""A report reads the divergence back, which makes the host wait for the GPU."""

SPIKE_NATS = 2.0
"""A prompt whose divergence is so many nats above its lowest has jumped to a plateau: without going back, one
search in twenty spends the rest of its steps there."""

LR_BACKOFF, LR_RECOVERY = 0.25, 1.1
"""After a spike, steps are so much shorter; then each is so much longer than the one before, up to the usual."""

ELIMINATION_FRACTION = 0.2
"""Restarts are down to one after this share of the steps: who leads then mostly leads at the end."""


class SoftBatch:
    """Prompts that descend together in one forward pass, each towards a target of its own.

    Nothing here makes the host wait for the device, but running out of its memory: then fewer run at once.

    Args:
        model: frozen.
        targets: p of each prompt, (b, V), probabilities; or (1, V), of all of them.
        prompts: where they start, (b, n, d).
        settings: from the spec.
        total_steps: updates that the schedule is laid out for.

    Attributes:
        step: updates made.
        positions: work so far, in token positions through the backbone; a backward pass counts as two.
        batch: prompts that run at once.
        prompts: the present ones, (b, n, d) float32.
        kls: of the newest measurement, nats, (b,).
        logits: of the newest measurement, (b, V).
        best_kls: lowest divergence of each so far, nats, (b,).
        best_prompts: what gave them, (b, n, d).
        best_gradients: of the divergence there, (b, n, d).
        best_steps: when, (b,).
        lr_scale: share of a whole step that each makes, (b,); below one after a spike.
    """

    def __init__(
        self, model: LanguageModel, targets: Tensor, prompts: Tensor, settings: Soft, total_steps: int
    ) -> None:
        model.check_length(settings.length)
        self._model = model
        self._entropies = entropy(targets.double().cpu()).to(model.device, torch.float32)
        self._targets = targets.to(model.device, torch.float32)
        self._settings = settings
        self._total = total_steps
        self._lr = settings.lr * float(model.embedding_matrix.std())
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
        """Measure the present prompts, and which way is down; keeps the best."""
        parts = self.batch.run(len(self.prompts), self._measure)
        self.kls, self.logits, self.prompts.grad = (torch.cat(part) for part in zip(*parts, strict=True))
        better = self.kls < self.best_kls
        self.best_kls = torch.where(better, self.kls, self.best_kls)
        self.best_steps = torch.where(better, self.step, self.best_steps)
        self.best_prompts = torch.where(better[:, None, None], self.prompts.detach(), self.best_prompts)
        self.best_gradients = torch.where(better[:, None, None], self.prompts.grad, self.best_gradients)

    def _measure(self, rows: slice) -> tuple[Tensor, Tensor, Tensor]:
        """Divergences, logits and gradients of some of the prompts."""
        prompts = self.prompts.detach()[rows].requires_grad_()
        of_targets = rows if len(self._targets) > 1 else slice(None)
        copies = math.ceil(MIN_GEMM_ROWS / prompts[..., 0].numel())  # so that the backbone, too, sees so many positions
        logits = self._model.next_token_logits(prompts.repeat(copies, 1, 1))[: len(prompts)]
        kls = logits_kl(self._targets[of_targets], logits, self._entropies[of_targets])
        (gradient,) = torch.autograd.grad(kls.sum(), prompts)
        return kls.detach(), logits.detach(), gradient

    @torch.no_grad()
    def update(self) -> None:
        """One step down from what `measure` gave, or from the best prompt where the divergence has spiked."""
        self.roll_back(~(self.kls <= self.best_kls + SPIKE_NATS))  # what is no number, too
        before = self.prompts.clone()
        self._optimizer.param_groups[0]["lr"] = self._lr * schedule(self.step, self._total, self._settings)
        self._optimizer.step()
        self.prompts.copy_(torch.lerp(before, self.prompts, self.lr_scale[:, None, None]))
        self.lr_scale = (self.lr_scale * LR_RECOVERY).clamp_max(1)
        self.step += 1
        around = len(self._model.prefix_ids) + len(self._model.suffix_ids)
        self.positions += 3 * len(self.prompts) * (self._settings.length + around)

    @torch.no_grad()
    def roll_back(self, lost: Tensor) -> None:
        """Some prompts, (b,) bool, go back to their best, and make shorter steps from there."""
        assert self.prompts.grad is not None
        self.prompts.copy_(torch.where(lost[:, None, None], self.best_prompts, self.prompts))
        self.prompts.grad = torch.where(lost[:, None, None], self.best_gradients, self.prompts.grad)
        self.lr_scale = torch.where(lost, LR_BACKOFF * self.lr_scale, self.lr_scale)

    def select(self, rows: Tensor) -> None:
        """Go on with some of the prompts only.

        Args:
            rows: which, (fewer,).
        """
        state = self.state_dict()
        kept = {name: tensor[rows] if tensor.ndim else tensor for name, tensor in state.tensors.items()}
        self.load_state_dict(SearchState(kept, state.numbers))
        self.kls, self.logits = self.kls[rows], self.logits[rows]
        if len(self._targets) > 1:
            self._targets, self._entropies = self._targets[rows], self._entropies[rows]

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
        tensors = initial_values | state.tensors  # an earlier version wrote neither
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
    """Descent on `length` vectors, with warm-up and decay; see `search.protocol.Search`.

    Args:
        model: frozen.
        target: p, (V,), probabilities.
        settings: from the spec.
        total_steps: updates that the schedule is laid out for.
        seed: decides the initial prompts, and so everything.
        warn: told what the person should know.
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
        self._batch = SoftBatch(model, target[None], torch.stack(prompts), settings, total_steps)
        self._total = total_steps
        self._eliminations = elimination_schedule(settings.restarts, total_steps)
        self._updates_per_report = UPDATES_PER_REPORT_ON_GPU if model.device.type == "cuda" else 1

    def steps(self) -> Iterator[Step]:
        batch = self._batch
        unreported: list[Tensor] = []
        while True:
            batch.measure()
            unreported.append(batch.kls.min())
            if len(unreported) >= self._updates_per_report or batch.step in (0, self._total):
                yield Step(batch.step, self._checked(torch.stack(unreported).tolist()), batch.positions)
                unreported.clear()
            if batch.step >= self._total:
                return
            batch.update()
            if batch.step in self._eliminations:
                batch.select(batch.best_kls.argsort()[: self._eliminations[batch.step]])

    def _checked(self, kls: list[float]) -> tuple[float, ...]:
        """The divergences to report. Where one is no number the search steps back, and reports where it stands then."""
        if lost := sum(not math.isfinite(kl) for kl in kls):
            self._nonfinite_warnings.add(lost, "the search steps back to the best prompt")
            self._batch.roll_back(~self._batch.kls.isfinite())
            self._batch.measure()
            kls[-1] = float(self._batch.kls.min())
        return tuple(kls)

    @property
    def current(self) -> tuple[SoftPrompt, Tensor]:
        leader = self._batch.kls.argmin()
        return SoftPrompt(self._batch.prompts.detach()[leader]), self._batch.logits[leader]

    @property
    def best(self) -> Best:
        batch, leader = self._batch, self._batch.best_kls.argmin()
        return Best(
            float(batch.best_kls[leader]), SoftPrompt(batch.best_prompts[leader]), int(batch.best_steps[leader])
        )

    def state_dict(self) -> SearchState:
        return self._batch.state_dict()

    def load_state_dict(self, state: SearchState) -> None:
        self._batch.load_state_dict(state)


def _optimizer(settings: Soft, prompts: Tensor, lr: float) -> torch.optim.Optimizer:
    if settings.optimizer == "adam":
        return torch.optim.Adam([prompts], lr=lr, betas=BETAS)
    return GGT([prompts], lr=lr, memory=settings.memory)


def elimination_schedule(restarts: int, total: int) -> dict[int, int]:
    """After which steps how many prompts go on, so that one is left at `ELIMINATION_FRACTION`."""
    return {
        max(1, round(ELIMINATION_FRACTION * total * rank / (restarts - 1))): restarts - rank
        for rank in range(1, restarts)
    }


def schedule(step: int, total: int, settings: Soft) -> float:
    """The factor on the learning rate for the update after `step`: linear warm-up, then cosine decay to zero."""
    warmup = min((step + 1) / (settings.warmup + 1), 1.0)
    if settings.decay == "none":
        return warmup
    return warmup * 0.5 * (1 + math.cos(math.pi * step / max(total, 1)))


def initial_vectors(model: LanguageModel, settings: Soft, seed: int) -> Tensor:
    """The prompt to start from, (n, d) float32, at the scale of the model's embeddings.

    Args:
        model: gives the embeddings.
        settings: `init` is "vocabulary" (random tokens), "text" (repeated or cut to length), "random" (normal, with
            the embeddings' mean and deviation) or "prompt" (one that was found before, soft or hard).
        seed: for the random ones. Drawn on the CPU, so that every device starts from the same prompt.

    Raises:
        UsageError: the text has no tokens, or the prompt does not fit the model and the length.
    """
    generator = torch.Generator().manual_seed(seed)
    if settings.init == "random":
        return model.random_vectors(settings.length, generator)
    if settings.init_prompt is not None:
        return prompt_vectors(model, Path(settings.init_prompt), settings.length)
    if settings.init_text is not None:
        return model.embedding(text_ids(model, settings.init_text, settings.length)).clone()
    return model.embedding(random_ids(model, (settings.length,), generator)).clone()
