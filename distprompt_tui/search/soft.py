"""Soft prompts: gradient descent on vectors in the model's input-embedding space."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from distprompt_tui.divergence import entropy, logits_kl
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.search.initial import random_ids, text_ids
from distprompt_tui.search.protocol import Best, SearchState, SoftPrompt, Step
from distprompt_tui.spec import Soft

BETAS = (0.9, 0.99)
"""Adam's decay rates; with 0.999 the second moment is still warming up when a short search ends."""

UPDATES_PER_REPORT_ON_GPU = 8
"""A report reads the divergence back, which makes the host wait for the GPU."""


class SoftSearch:
    """Adam on `length` vectors, with warm-up and decay; see `search.protocol.Search`.

    Args:
        model: frozen.
        target: p, (V,), probabilities.
        settings: from the spec.
        total_steps: updates that the schedule is laid out for.
        seed: decides the initial prompt, and so everything.
    """

    def __init__(self, model: LanguageModel, target: Tensor, settings: Soft, total_steps: int, seed: int) -> None:
        model.check_length(settings.length)
        self._model = model
        self._entropy = float(entropy(target.double()))
        self._target = target.to(model.device, torch.float32)
        self._settings = settings
        self._total = total_steps
        self._lr = settings.lr * float(model.embedding_matrix.std())
        self._step = 0
        self._positions_per_step = 3 * (settings.length + len(model.prefix_ids) + len(model.suffix_ids))
        self._prompt = initial_vectors(model, settings, seed).requires_grad_()
        self._adam = torch.optim.Adam([self._prompt], lr=self._lr, betas=BETAS)
        self._logits = torch.zeros(model.vocab_size, device=model.device)
        self._best_prompt = self._prompt.detach().clone()
        self._best_kl = torch.tensor(torch.inf, device=model.device)
        self._best_step = torch.tensor(0, device=model.device)

    def steps(self) -> Iterator[Step]:
        """See `Search.steps`."""
        batch = UPDATES_PER_REPORT_ON_GPU if self._model.device.type == "cuda" else 1
        unreported: list[Tensor] = []
        while True:
            kl = self._measure()
            unreported.append(kl.detach())
            if len(unreported) >= batch or self._step in (0, self._total):
                yield Step(self._step, tuple(torch.stack(unreported).tolist()), self._step * self._positions_per_step)
                unreported.clear()
            if self._step >= self._total:
                return
            self._update(kl)

    @property
    def current(self) -> tuple[SoftPrompt, Tensor]:
        """See `Search.current`."""
        return SoftPrompt(self._prompt.detach()), self._logits

    @property
    def best(self) -> Best:
        """See `Search.best`."""
        return Best(float(self._best_kl), SoftPrompt(self._best_prompt), int(self._best_step))

    def state(self) -> SearchState:
        """See `Search.state`."""
        adam = self._adam.state.get(self._prompt, {})
        tensors = {
            "prompt": self._prompt.detach(),
            "best_prompt": self._best_prompt,
            "best_kl": self._best_kl,
            "best_step": self._best_step,
            **{f"adam.{name}": value for name, value in adam.items()},
        }
        return SearchState({name: tensor.clone() for name, tensor in tensors.items()}, {"step": self._step})

    def restore(self, state: SearchState) -> None:
        """See `Search.restore`."""
        device = self._model.device
        self._step = state.numbers["step"]
        self._best_prompt, self._best_kl, self._best_step = (
            state.tensors[name].to(device) for name in ("best_prompt", "best_kl", "best_step")
        )
        with torch.no_grad():
            self._prompt.copy_(state.tensors["prompt"])
        adam = {name.removeprefix("adam."): value for name, value in state.tensors.items() if name.startswith("adam.")}
        if adam:
            self._adam.state[self._prompt] = {
                name: value if name == "step" else value.to(device) for name, value in adam.items()
            }

    def _measure(self) -> Tensor:
        """The present prompt's divergence, with its graph; keeps the best without making the host wait."""
        logits = self._model.next_token_logits(self._prompt[None])
        kl = logits_kl(self._target, logits, self._entropy)[0]
        self._logits = logits.detach()[0]
        better = kl.detach() < self._best_kl
        self._best_kl = torch.where(better, kl.detach(), self._best_kl)
        self._best_step = torch.where(better, self._step, self._best_step)
        self._best_prompt = torch.where(better, self._prompt.detach(), self._best_prompt)
        return kl

    def _update(self, kl: Tensor) -> None:
        self._adam.zero_grad()
        kl.backward()
        self._adam.param_groups[0]["lr"] = self._lr * schedule(self._step, self._total, self._settings)
        self._adam.step()
        self._step += 1


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
        settings: `init` is "vocabulary" (random tokens), "text" (repeated or cut to length) or "random" (normal, with
            the embeddings' mean and deviation).
        seed: for the random ones. Drawn on the CPU, so that every device starts from the same prompt.
    """
    generator = torch.Generator().manual_seed(seed)
    matrix = model.embedding_matrix
    if settings.init == "random":
        noise = torch.randn(settings.length, model.hidden_size, generator=generator)
        return matrix.mean(0) + matrix.std() * noise.to(model.device)
    if settings.init_text is not None:
        return model.embedding(text_ids(model, settings.init_text, settings.length)).clone()
    return model.embedding(random_ids(model, (settings.length,), generator)).clone()
