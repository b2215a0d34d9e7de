"""Which position of a prompt moves a token: the prompt is measured again with each position taken out in turn."""

from __future__ import annotations

import torch
from torch import Tensor

from distprompt_tui.models.language_model import LanguageModel

BATCH_POSITIONS = 4096
"""Token positions that go through the backbone at once."""


@torch.no_grad()
def influences(model: LanguageModel, prompt: Tensor, token: int) -> list[float]:
    """What each position gives to a token's log-probability.

    A position is taken out by putting the mean embedding of all tokens in its place: the others keep their positions,
    which they would not if it were cut out.

    Args:
        model: in the prompt's context.
        prompt: (n, d) embeddings.
        token: the id of the token that follows.

    Returns:
        log q(token) with the prompt as it is, less that without the position, nats, n of them.
    """
    model.check_takes_vectors("the influence of a position")
    count = len(prompt)
    mean = model.embedding_matrix[model.head.allowed].mean(0)
    variants = prompt.repeat(count + 1, 1, 1)  # the last one stays as it is
    variants[range(count), range(count)] = mean
    chunks = variants.split(max(BATCH_POSITIONS // max(count, 1), 1))
    log_q = torch.cat([model.next_token_logits(chunk).log_softmax(-1)[:, token] for chunk in chunks])
    return (log_q[-1] - log_q[:-1]).tolist()
