"""Unmodified nanoGCG on a full target distribution, in its own environment. `nanogcg_comparison.py` starts this.

    ENVIRONMENT/bin/python tests/benchmarks/nanogcg_arm.py logits FOLDER IDS OUT
    ENVIRONMENT/bin/python tests/benchmarks/nanogcg_arm.py search FOLDER TARGET SETTINGS

nanoGCG minimises the cross-entropy of a target string. Here that string is one token, and `SurrogateModel` returns
logits at its position whose cross-entropy is CE(p, q) = −Σ p log q, with q the model's next-token distribution after
the prompt. This program imports nothing of distprompt_tui.
"""

from __future__ import annotations

import copy
import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

LABEL = "!"
"""The target string: one token with a small id."""

IMPOSSIBLE = -1e4  # logit of the other tokens: their probability is 0 in float32

IDENTITY_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def surrogate_row(cross_entropy: Tensor, label: int) -> Tensor:
    """Return logits whose cross-entropy with a label is a given value, differentiable in it.

    Args:
        cross_entropy: (batch,), nats, above 0.
        label: id of the label.

    Returns:
        (batch, label + 2): −c at the label, log(1 − exp(−c)) at the id after it, so that the two probabilities sum to
        1; `IMPOSSIBLE` at the other ids.
    """
    other = torch.log(-torch.expm1(-cross_entropy))
    rest = other.new_full((len(other), label), IMPOSSIBLE)
    return torch.cat([rest, -cross_entropy[:, None], other[:, None]], dim=1)


class SurrogateModel(nn.Module):
    """A causal language model whose logits before the last token have the cross-entropy CE(p, q).

    Args:
        model: of transformers, with `base_model` and output embeddings without a bias.
        target: p, (V,), in the model's dtype.
        label: id of the one-token target string.
        share: run the beginning that candidates share with the last prompt with a gradient once. The losses are equal
            up to rounding.

    Attributes:
        passes: batch size and factor of each call's work: 3 for a forward and a backward pass, 1 for a forward pass.
    """

    def __init__(self, model: Any, target: Tensor, label: int, *, share: bool = True) -> None:
        super().__init__()
        self.model, self.target, self.label, self.share = model.requires_grad_(False), target, label, share
        self.passes: list[tuple[int, int]] = []
        self._current = torch.empty(0)

    @property
    def device(self) -> torch.device:
        return self.target.device

    @property
    def dtype(self) -> torch.dtype:
        return self.target.dtype

    def get_input_embeddings(self) -> nn.Module:
        found: nn.Module = self.model.get_input_embeddings()
        return found

    def forward(self, inputs_embeds: Tensor) -> SimpleNamespace:
        """Return an object with `logits`, (batch, n + 1, label + 2), which are the same at every position.

        Args:
            inputs_embeds: prompts and the target token, (batch, n + 1, d). The target token itself is not run: no
                position before it depends on it.
        """
        prompts = inputs_embeds[:, :-1]
        self.passes.append((len(prompts), 3 if prompts.requires_grad else 1))
        if len(prompts) == 1:
            self._current = prompts.detach()
        states = self._states(prompts) if self.share and len(prompts) > 1 else self._run(prompts)
        rows = surrogate_row(self._cross_entropy(states), self.label)
        return SimpleNamespace(logits=rows[:, None].expand(-1, inputs_embeds.shape[1], -1))

    def _cross_entropy(self, states: Tensor) -> Tensor:
        """Compute CE(p, q) of states after the final norm, (batch, d) → (batch,)."""
        log_q = self.model.get_output_embeddings()(states).log_softmax(-1)
        return -torch.where(self.target > 0, self.target * log_q, 0).sum(-1)

    def _run(self, prompts: Tensor, **cache: Any) -> Tensor:
        """Run the model's body and return the last states, (batch, n, d) → (batch, d)."""
        arguments = {"use_cache": False, **cache}
        found: Tensor = self.model.base_model(inputs_embeds=prompts, **arguments).last_hidden_state[:, -1]
        return found

    def _states(self, prompts: Tensor) -> Tensor:
        """As `_run`, with the keys and values of the beginning that prompts share with the current one."""
        from transformers import DynamicCache

        whole = DynamicCache()
        self._run(self._current, past_key_values=whole, use_cache=True)
        differs = (prompts != self._current).any(-1)
        differs[:, -1] = True  # the last position runs in any case
        firsts = differs.int().argmax(1)
        states = torch.empty_like(prompts[:, 0])
        for first in firsts.unique().tolist():
            rows = firsts == first
            cache: dict[str, Any] = {}
            if first:
                cache = {"past_key_values": copy.deepcopy(whole), "use_cache": True}
                cache["past_key_values"].crop(first - prompts.shape[1])
                cache["past_key_values"].batch_repeat_interleave(int(rows.sum()))
            states[rows] = self._run(prompts[rows][:, first:], **cache)
        return states


def load_model(folder: Path) -> Any:
    """Load a prepared model in float32. Configs of transformers 5 name the base of the rotations differently."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    rotations = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("rope_parameters", {})
    if "rope_theta" in rotations:
        config.rope_theta = rotations["rope_theta"]
    return AutoModelForCausalLM.from_pretrained(folder, config=config, torch_dtype=torch.float32).eval()


def load_tokenizer(folder: Path) -> Any:
    """Load a prepared model's tokenizer, which writes tokens as they are and adds no chat template."""
    from transformers import PreTrainedTokenizerFast

    special = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    names = {name: special[name] for name in ("bos_token", "eos_token", "pad_token", "unk_token") if name in special}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), clean_up_tokenization_spaces=False, **names
    )
    tokenizer.chat_template = IDENTITY_TEMPLATE
    return tokenizer


def search(folder: Path, target: Tensor, settings: dict[str, Any]) -> dict[str, Any]:
    """Run nanoGCG without text around the prompt, and return its result and work.

    Args:
        folder: of the prepared model.
        target: p, (V,).
        settings: of `nanogcg.GCGConfig`.

    Returns:
        `string` and `ids` of the best prompt, `best_ce` (nats), `losses` of each step, `passes` as in `SurrogateModel`,
        `mask_size` (tokens that nanoGCG allows), processor seconds and versions.
    """
    import nanogcg
    from nanogcg.utils import get_nonascii_toks

    tokenizer = load_tokenizer(folder)
    (label,) = tokenizer(LABEL, add_special_tokens=False)["input_ids"]
    model = SurrogateModel(load_model(folder), target.float(), label)
    config = nanogcg.GCGConfig(use_prefix_cache=False, verbosity="WARNING", **settings)
    began = time.process_time()
    result = nanogcg.run(model, tokenizer, "{optim_str}", LABEL, config)
    return {
        "string": result.best_string,
        "ids": tokenizer(result.best_string, add_special_tokens=False)["input_ids"],
        "best_ce": result.best_loss,
        "losses": result.losses,
        "passes": model.passes,
        "mask_size": len(tokenizer) - len(get_nonascii_toks(tokenizer).unique()),
        "seconds": round(time.process_time() - began, 1),
        "versions": {name: version(name) for name in ("nanogcg", "transformers", "tokenizers", "torch")},
    }


def main() -> None:
    """Write logits, or print the result of a search as one line of JSON."""
    import numpy as np

    torch.set_num_threads(1)
    command, folder, array, last = sys.argv[1:]
    given = torch.from_numpy(np.load(array))
    if command == "logits":
        with torch.no_grad():
            np.save(last, load_model(Path(folder))(given).logits[:, -1].numpy())
    else:
        print(json.dumps(search(Path(folder), given, json.loads(last))))


if __name__ == "__main__":
    main()
