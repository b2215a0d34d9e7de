"""Count the work of a search by the inputs of the model's backbone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from distprompt_tui.models.bf16_copy import in_half_precision
from distprompt_tui.models.language_model import LanguageModel


class Work:
    """Token positions through a backbone and its copy in half precision, counted by hooks until `stop`; a backward pass
    counts as two."""

    def __init__(self, model: LanguageModel) -> None:
        self.positions = 0
        backbones = (model.backbone, in_half_precision(model).backbone)
        self._hooks = [backbone.register_forward_pre_hook(self._count, with_kwargs=True) for backbone in backbones]

    def stop(self) -> int:
        """Remove the hooks; return the positions."""
        for hook in self._hooks:
            hook.remove()
        return self.positions

    def _count(self, module: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        embeds: Tensor = kwargs["inputs_embeds"]
        self.positions += embeds.shape[0] * embeds.shape[1] * (3 if embeds.requires_grad else 1)
