"""Soft prompts: gradient descent on vectors in the model's input-embedding space."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from distprompt_tui.divergence import entropy, logits_kl
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.ggt import GGT
from distprompt_tui.search.initial import prompt_vectors, random_ids, text_ids
from distprompt_tui.search.protocol import Best, SearchState, SoftPrompt, Step
from distprompt_tui.spec import Soft

BETAS = (0.9, 0.99)
"""Adam's decay rates; with 0.999 the second moment is still warming up when a short search ends."""

UPDATES_PER_REPORT_ON_GPU = 8
"""A report reads the divergence back, which makes the host wait for the GPU."""


class SoftBatch:
    """Prompts that descend together in one forward pass, each towards a target of its own.

    Nothing here makes the host wait for the device.

    Args:
        model: frozen.
        targets: p of each prompt, (b, V), probabilities.
        prompts: where they start, (b, n, d).
        settings: from the spec.
        total_steps: updates that the schedule is laid out for.

    Attributes:
        step: updates made.
        prompts: the present ones, (b, n, d) float32.
        logits: of the newest measurement, (b, V).
        best_kls: lowest divergence of each so far, nats, (b,).
        best_prompts: what gave them, (b, n, d).
        best_steps: when, (b,).
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
        self.prompts = prompts.clone().requires_grad_()
        self._optimizer = _optimizer(settings, self.prompts, self._lr)
        self.logits = torch.zeros(len(prompts), model.vocab_size, device=model.device)
        self.best_kls = torch.full((len(prompts),), torch.inf, device=model.device)
        self.best_prompts = prompts.clone()
        self.best_steps = torch.zeros(len(prompts), dtype=torch.long, device=model.device)

    @property
    def positions(self) -> int:
        """Work so far, in token positions through the body; a backward pass counts as two."""
        context = len(self._model.prefix_ids) + len(self._model.suffix_ids)
        return self.step * 3 * len(self.prompts) * (self._settings.length + context)

    def measure(self) -> Tensor:
        """The present prompts' divergences, (b,), with their graph; keeps the best."""
        logits = self._model.next_token_logits(self.prompts)
        kls = logits_kl(self._targets, logits, self._entropies)
        self.logits = logits.detach()
        found = kls.detach()
        better = found < self.best_kls
        self.best_kls = torch.where(better, found, self.best_kls)
        self.best_steps = torch.where(better, self.step, self.best_steps)
        self.best_prompts = torch.where(better[:, None, None], self.prompts.detach(), self.best_prompts)
        return kls

    def update(self, kls: Tensor) -> None:
        """One step down from what `measure` gave."""
        self._optimizer.zero_grad()
        kls.sum().backward()
        self._optimizer.param_groups[0]["lr"] = self._lr * schedule(self.step, self._total, self._settings)
        self._optimizer.step()
        self.step += 1

    def state(self) -> SearchState:
        """See `Search.state`."""
        tensors = {
            "prompts": self.prompts.detach(),
            "best_prompts": self.best_prompts,
            "best_kls": self.best_kls,
            "best_steps": self.best_steps,
            **{f"optimizer.{name}": value for name, value in self._optimizer.state.get(self.prompts, {}).items()},
        }
        return SearchState({name: tensor.clone() for name, tensor in tensors.items()}, {"step": self.step})

    def restore(self, state: SearchState) -> None:
        """See `Search.restore`."""
        device = self._model.device
        self.step = state.numbers["step"]
        self.best_prompts, self.best_kls, self.best_steps = (
            state.tensors[name].to(device) for name in ("best_prompts", "best_kls", "best_steps")
        )
        with torch.no_grad():
            self.prompts.copy_(state.tensors["prompts"])
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
        seed: decides the initial prompt, and so everything.
    """

    def __init__(self, model: LanguageModel, target: Tensor, settings: Soft, total_steps: int, seed: int) -> None:
        prompt = initial_vectors(model, settings, seed)
        self._batch = SoftBatch(model, target[None], prompt[None], settings, total_steps)
        self._total = total_steps
        self._updates_per_report = UPDATES_PER_REPORT_ON_GPU if model.device.type == "cuda" else 1

    def steps(self) -> Iterator[Step]:
        """See `Search.steps`."""
        batch = self._batch
        unreported: list[Tensor] = []
        while True:
            kls = batch.measure()
            unreported.append(kls.detach())
            if len(unreported) >= self._updates_per_report or batch.step in (0, self._total):
                yield Step(batch.step, tuple(torch.cat(unreported).tolist()), batch.positions)
                unreported.clear()
            if batch.step >= self._total:
                return
            batch.update(kls)

    @property
    def current(self) -> tuple[SoftPrompt, Tensor]:
        """See `Search.current`."""
        return SoftPrompt(self._batch.prompts.detach()[0]), self._batch.logits[0]

    @property
    def best(self) -> Best:
        """See `Search.best`."""
        batch = self._batch
        return Best(float(batch.best_kls[0]), SoftPrompt(batch.best_prompts[0]), int(batch.best_steps[0]))

    def state(self) -> SearchState:
        """See `Search.state`."""
        return self._batch.state()

    def restore(self, state: SearchState) -> None:
        """See `Search.restore`."""
        self._batch.restore(state)


def _optimizer(settings: Soft, prompts: Tensor, lr: float) -> torch.optim.Optimizer:
    if settings.optimizer == "adam":
        return torch.optim.Adam([prompts], lr=lr, betas=BETAS)
    return GGT([prompts], lr=lr, memory=settings.memory)


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
    matrix = model.embedding_matrix
    if settings.init == "random":
        noise = torch.randn(settings.length, model.hidden_size, generator=generator)
        return matrix.mean(0) + matrix.std() * noise.to(model.device)
    if settings.init_prompt is not None:
        return prompt_vectors(model, Path(settings.init_prompt), settings.length)
    if settings.init_text is not None:
        return model.embedding(text_ids(model, settings.init_text, settings.length)).clone()
    return model.embedding(random_ids(model, (settings.length,), generator)).clone()
