"""Split the divergence of a hard prompt into the parts of the output layer, of the prompt and of its search.

The head optimum is the output layer's part. The second part is what a better known prompt, the reference, leaves above
the head optimum. The third part is what the hard prompt leaves above the reference. The reference is a soft prompt or a
witness. A soft prompt can reach values that no hard prompt reaches, so the third part is due to the tokens and to the
search over them. A witness that is a text of at most the searched length is itself a hard prompt that the search could
have found: above it, the third part is due to the search alone.
"""

from __future__ import annotations

from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.core.text.formatting import nats

Reference = Literal["soft", "witness"]

Number = TypeVar("Number", float, NDArray[np.float64])


def parts(hard: Number, head_optimum: Number, reference: Number) -> tuple[Number, Number, Number]:
    """Return head optimum, reference − head optimum, and hard − reference, which sum to the hard divergence; nats."""
    return head_optimum, reference - head_optimum, hard - reference


def split_line(hard: float, head_optimum: float, reference: float, name: Reference, room: int) -> str:
    """Format the split of a run: `head optimum 0.005 | soft − head optimum 0.018 | hard − soft 1.052`.

    If this is longer than `room`, the differences have only the name of their first term.
    """
    optimum, prompt, search = parts(hard, head_optimum, reference)
    first = f"head optimum {nats(optimum)}"
    whole = f"{first} | {name} − head optimum {nats(prompt)} | hard − {name} {nats(search)}"
    return whole if len(whole) <= room else f"{first} | {name} {nats(prompt)} | hard {nats(search)}"
