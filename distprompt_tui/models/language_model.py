"""Wrapper around a loaded causal language model, with the operations that searches need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distprompt_tui.core.config.spec import BosSetting
from distprompt_tui.core.errors import ModelError
from distprompt_tui.models.forward import Forward, run_plain
from distprompt_tui.models.head import TOLERANCES, Head
from distprompt_tui.models.large_matrix import mean_row, standard_deviation
from distprompt_tui.models.prefix_cache import (
    Beginning,
    PrefixCache,
    Sharing,
    States,
    keys_and_values_of,
    run_into,
)
from distprompt_tui.models.vocabulary import Vocabulary

HEAD_POSITIONS = 64  # positions per call of the head: 64 MiB of logits for a vocabulary of 262,144


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model with a fixed context around every prompt.

    Attributes:
        name: the model's name in the spec.
        backbone: ids (batch, n) or embeddings (batch, n, d) → `last_hidden_state` (batch, n, d), after the final norm.
        embedder: the embedding module of the backbone.
        head: last state → logits.
        embedding_matrix: (V, d), the input embeddings, including any scaling by the model, as `large_matrix.held`;
            the same memory as the head's weight where the model ties the two without scaling.
        vocabulary: the model's tokens.
        max_length: the longest input, in tokens.
        prefix_ids: fixed tokens before the prompt.
        suffix_ids: fixed tokens after the prompt.
        bos: the BOS setting, see `in_context`.
        added: number of ids added to every text, such as BOS, at the start of `prefix_ids` and end of `suffix_ids`.
        why_ids_only: reason why the backbone accepts ids only; None if embeddings give the same states.
        forward: runs the backbone without a prefix cache.
        compile: whether searches with gradients compile the backbone.
        weights: quantisation or dtype of the weights, such as "Q4_1"; None if unknown.
    """

    name: str
    backbone: nn.Module
    embedder: nn.Module
    head: Head
    embedding_matrix: Tensor
    vocabulary: Vocabulary
    max_length: int
    prefix_ids: tuple[int, ...] = ()
    suffix_ids: tuple[int, ...] = ()
    bos: BosSetting = "auto"
    added: tuple[int, int] = (0, 0)
    why_ids_only: str | None = None
    forward: Forward = run_plain
    compile: bool = False
    weights: str | None = None

    @property
    def vocab_size(self) -> int:
        """V, the number of rows of the head."""
        return self.head.weight.shape[0]

    @property
    def hidden_size(self) -> int:
        """d, the width of an input embedding."""
        return self.embedding_matrix.shape[1]

    @property
    def device(self) -> torch.device:
        return self.embedding_matrix.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the backbone; logits and divergences are always float32."""
        return running_dtype(self.backbone)

    def check_takes_vectors(self, what: str) -> None:
        """Check that the model accepts embeddings; `what`, such as "a soft prompt", is the subject of the error.

        Raises:
            ModelError: the model accepts token ids only.
        """
        if self.why_ids_only is not None:
            raise ModelError(
                f"{what} needs input embeddings, which {self.name} does not accept "
                f"({self.why_ids_only}): use the method 'hard', 'random' or 'exhaustive'"
            )

    def embedding(self, ids: Tensor) -> Tensor:
        """Look up input embeddings of token ids, (...) → (..., d), float32."""
        return self.embedding_matrix[ids].float()

    def next_token_logits(self, prompts: Tensor, prefix_cache: Beginning | None = None) -> Tensor:
        """Compute next-token logits after each prompt in its context. The head runs at the last position only.

        Args:
            prompts: ids (batch, n), or embeddings (batch, n, d) of any floating dtype.
            prefix_cache: of everything before `prompts`, the prefix included; then only `prompts` and the suffix run.

        Returns:
            (batch, V), float32; −inf on rows without a token.
        """
        if prefix_cache is None:
            return self._logits(self._in_context(prompts, self.prefix_ids))
        return self._logits(self._in_context(prompts, ()), prefix_cache.continued)

    def last_state(self, prompts: Tensor) -> Tensor:
        """Compute the final norm's output at the last position after each prompt in its context, (batch, d).

        `prompts` are ids (batch, n), or embeddings (batch, n, d).
        """
        return self.run_backbone(self._in_context(prompts, self.prefix_ids))[:, -1]

    def logits_and_likelihood(self, prompts: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute next-token logits and the likelihood of the prompt. The head runs at every position.

        Args:
            prompts: ids (batch, n), or embeddings (batch, n, d) of any floating dtype.
            ids: the same prompts, (batch, n).

        Returns:
            Logits of the next token, (batch, V); mean log-likelihood of the prompt's tokens, nats, (batch,), 0 if no
            token has a predecessor; log-probabilities of every token at each position, (batch, n, V), 0 at a position
            without a predecessor. All float32.
        """
        hidden = self.run_backbone(self._in_context(prompts, self.prefix_ids))
        log_q = self._head_logits(self._states_before_tokens(hidden, ids.shape[1])).log_softmax(-1)
        if not self.prefix_ids:
            log_q = torch.nn.functional.pad(log_q, (0, 0, 1, 0))
        likelihood = log_q.gather(2, ids[..., None]).sum((1, 2)) / max(self.num_predicted(ids.shape[1]), 1)
        return self._head_logits(hidden[:, -1]), likelihood, log_q

    @torch.no_grad()
    def log_probabilities(self, ids: Tensor) -> Tensor:
        """Compute the log-probability of each token of a prompt, given the context and the tokens before it.

        Args:
            ids: (n,).

        Returns:
            log P(token | before), nats, (n,) float32; NaN for a first token without a prefix.
        """
        hidden = self._states_before_tokens(self.run_backbone(self._in_context(ids[None], self.prefix_ids)), len(ids))[
            0
        ]
        found = torch.full((len(ids),), torch.nan, device=self.device)
        first = len(ids) - len(hidden)
        for start in range(0, len(hidden), HEAD_POSITIONS):
            log_q = self._head_logits(hidden[start : start + HEAD_POSITIONS]).log_softmax(-1)
            place = first + start
            found[place : place + len(log_q)] = log_q.gather(1, ids[place : place + len(log_q), None])[:, 0]
        return found

    def _states_before_tokens(self, hidden: Tensor, length: int) -> Tensor:
        """Select the states before each prompt token, from (batch, positions, d); the first may have none."""
        before = len(self.prefix_ids)
        return hidden[:, max(before - 1, 0) : before + length - 1]

    def logits_and_prefix_cache(self, prompt: Tensor, sharing: Sharing = Sharing.KEYS) -> tuple[Tensor, PrefixCache]:
        """Compute next-token logits of one prompt and the cache of prefix, prompt and suffix.

        Raises:
            ModelError: the model does not support this kind of cache.
        """
        from transformers import DynamicCache

        inputs = self._in_context(prompt, self.prefix_ids)
        if sharing is Sharing.KEYS:
            cache = DynamicCache()
            return self._logits(inputs, partial(run_into, cache)), keys_and_values_of(cache, inputs.shape[1])
        # In one call without a cache: states are written in place, which breaks gradients.
        return self._logits(inputs), States(
            self.backbone, self.backbone_input(inputs).detach(), sharing is Sharing.STEPS
        )

    def in_context(self, prefix: str, suffix: str, bos: BosSetting = "auto") -> LanguageModel:
        """Return the same model with fixed text around every prompt.

        Args:
            prefix: text before the prompt.
            suffix: text after the prompt.
            bos: tokens around that text. "auto": those that the model's tokenizer adds by default; True: the BOS token
                before it; False: none.

        Raises:
            ModelError: `bos` is True and the model has no BOS token, or the tokenizer cannot tokenize the text.
        """
        vocabulary = self.vocabulary
        if bos is True and vocabulary.bos_id is None and not vocabulary.added_ids[0]:
            raise ModelError(f'{self.name} has no BOS token: set context.bos to "auto" or false')
        before, after = {
            "auto": vocabulary.added_ids,
            True: ((vocabulary.bos_id,) if vocabulary.bos_id is not None else vocabulary.added_ids[0], ()),
            False: ((), ()),
        }[bos]
        return replace(
            self,
            prefix_ids=(*before, *vocabulary.encode(prefix)),
            suffix_ids=(*vocabulary.encode(suffix, continues=True), *after),
            bos=bos,
            added=(len(before), len(after)),
        )

    @property
    def without_text(self) -> LanguageModel:
        """The same model without context text; tokens that the tokenizer adds, such as BOS, remain."""
        before, after = self.added
        return replace(
            self, prefix_ids=self.prefix_ids[:before], suffix_ids=self.suffix_ids[len(self.suffix_ids) - after :]
        )

    @property
    def bos_note(self) -> str | None:
        """Description of the BOS setting if it differs from the tokenizer's default, else None."""
        alone = self.without_text
        if (alone.prefix_ids, alone.suffix_ids) == self.vocabulary.added_ids:
            return None
        return f"BOS {self.vocabulary.text(alone.prefix_ids[0])}" if alone.prefix_ids else "no BOS"

    def text_ids(self, ids: Sequence[int]) -> list[int]:
        """Return the ids of prompt and context text, without BOS and other tokens that the tokenizer adds."""
        before, after = self.added
        return [*self.prefix_ids[before:], *ids, *self.suffix_ids[: len(self.suffix_ids) - after]]

    def encode_prompt(self, text: str) -> list[int]:
        """Tokenize a text as a prompt in the context.

        Raises:
            ModelError: the tokenizer cannot tokenize the text.
        """
        return self.vocabulary.encode(text, continues=len(self.prefix_ids) > self.added[0])

    def num_predicted(self, length: int) -> int:
        """Return the number of tokens of a prompt that have a predecessor."""
        return length if self.prefix_ids else length - 1

    def check_length(self, length: int) -> None:
        """Check that a prompt fits the model's context.

        Raises:
            ModelError: prompt and context together are longer than `max_length`.
        """
        around = len(self.prefix_ids) + len(self.suffix_ids)
        if length + around > self.max_length:
            raise ModelError(
                f"{length} prompt tokens and {around} of context are too many: the limit of {self.name} is "
                f"{self.max_length}"
            )

    @torch.no_grad()
    def next_token_probabilities(self, text: str) -> NDArray[np.float64]:
        """Compute the next-token distribution after a text, (V,), with added tokens such as BOS but no context text.

        Raises:
            ModelError: the text is empty or longer than the model's context.
        """
        ids = self.vocabulary.encode(text)
        if not ids:
            raise ModelError("the text is empty: at least one token is needed")
        alone = self.without_text
        alone.check_length(len(ids))
        return _probabilities(alone.next_token_logits(torch.tensor([ids], device=self.device)))

    @torch.no_grad()
    def random_prompt_probabilities(self, length: int, seed: int) -> NDArray[np.float64]:
        """Compute the next-token distribution, (V,), after normal vectors with the embeddings' mean and deviation."""
        self.check_length(length)
        prompt = self.random_vectors(length, torch.Generator().manual_seed(seed))
        return _probabilities(self.next_token_logits(prompt[None]))

    def random_vectors(self, length: int, generator: torch.Generator) -> Tensor:
        """A random soft prompt, (length, d): normal vectors with the embeddings' mean and deviation.

        The generator is one of the CPU, so that every device gives the same prompt.
        """
        noise = torch.randn(length, self.hidden_size, generator=generator)
        return mean_row(self.embedding_matrix) + standard_deviation(self.embedding_matrix) * noise.to(self.device)

    def backbone_input(self, inputs: Tensor) -> Tensor:
        """Convert ids, (batch, n), or embeddings, (batch, n, d), to the form that the backbone accepts."""
        if inputs.is_floating_point():
            self.check_takes_vectors("a soft prompt")
            return inputs.to(self.dtype, copy=True)  # some backbones change their input in place
        return self.embedding_matrix[inputs].to(self.dtype) if self.why_ids_only is None else inputs

    def run_backbone(self, inputs: Tensor) -> Tensor:
        """Compute states after the final norm, (batch, n, d), from ids, (batch, n), or embeddings, (batch, n, d)."""
        return self.forward(self.backbone, self.backbone_input(inputs))

    def _logits(self, inputs: Tensor, run: Callable[[nn.Module, Tensor], Tensor] | None = None) -> Tensor:
        """Compute last-position logits, (batch, V), from ids or embeddings, by `run` or without a cache."""
        hidden = self.run_backbone(inputs) if run is None else run(self.backbone, self.backbone_input(inputs))
        return self._head_logits(hidden[:, -1])

    def _head_logits(self, hidden: Tensor) -> Tensor:
        """Compute logits on the device of the inputs, which is not the head's if the layers are divided."""
        return self.head.logits(hidden).to(self.device)

    @cached_property
    def _context_ids(self) -> tuple[Tensor, Tensor]:
        """Ids of prefix and suffix, (1, length) each, copied to the device once."""
        before, after = (
            torch.tensor([ids], dtype=torch.long, device=self.device) for ids in (self.prefix_ids, self.suffix_ids)
        )
        return before, after

    def _in_context(self, prompts: Tensor, prefix_ids: tuple[int, ...]) -> Tensor:
        """Concatenate prefix, prompts and suffix, as ids (batch, n) or embeddings (batch, n, d)."""
        if not prefix_ids and not self.suffix_ids:
            return prompts
        before_ids, after_ids = self._context_ids
        around = [before_ids[:, : len(prefix_ids)], after_ids]
        if prompts.is_floating_point():
            around = [self.embedding(ids).to(prompts.dtype) for ids in around]
        before, after = (part.expand(len(prompts), *part.shape[1:]) for part in around)
        return torch.cat([before, prompts, after], dim=1)


def running_dtype(backbone: nn.Module) -> torch.dtype:
    """Return the dtype that a backbone computes in; integer and 8-bit storage of quantised weights is ignored."""
    dtypes = (parameter.dtype for parameter in backbone.parameters())
    configured = getattr(getattr(backbone, "config", None), "dtype", None)
    return next((dtype for dtype in (*dtypes, configured) if dtype in TOLERANCES), torch.float32)


def _probabilities(logits: Tensor) -> NDArray[np.float64]:
    """Convert logits, (1, V), to probabilities, (V,) float64, on the CPU, because MPS has no float64."""
    return logits[0].cpu().double().softmax(-1).numpy()
