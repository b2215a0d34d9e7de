"""Attribution by occlusion: the effect of each position of a prompt on a token's log-probability."""

from __future__ import annotations

import torch
from torch import Tensor

from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.large_matrix import mean_row

BATCH_POSITIONS = 4096  # token positions per forward pass


@torch.no_grad()
def influences(model: LanguageModel, prompt: Tensor, token: int) -> list[float]:
    """Compute the contribution of each position to a token's log-probability.

    The mean embedding of all tokens replaces a position, so that the other tokens keep their positions.

    Args:
        model: in the prompt's context.
        prompt: (n, d) embeddings.
        token: the id of the token that follows.

    Returns:
        log q(token) with the complete prompt minus log q(token) without the position, nats, n values.
    """
    model.check_takes_vectors("the influence of a position")
    count = len(prompt)
    mean = mean_row(model.embedding_matrix, model.head.allowed.nonzero()[:, 0].to(model.device))
    variants = prompt.repeat(count + 1, 1, 1)  # the last one is unchanged
    variants[range(count), range(count)] = mean
    chunks = variants.split(max(BATCH_POSITIONS // max(count, 1), 1))
    log_q = torch.cat([model.next_token_logits(chunk).log_softmax(-1)[:, token] for chunk in chunks])
    return (log_q[-1] - log_q[:-1]).tolist()
