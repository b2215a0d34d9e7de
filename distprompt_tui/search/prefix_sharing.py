"""Choose the way in which prompts share the cache of a prefix on a model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from distprompt_tui.models.device import is_out_of_memory
from distprompt_tui.models.prefix_cache import Sharing

WAYS = {"cpu": (Sharing.KEYS, Sharing.STEPS, Sharing.STATES)}
OTHER_WAYS = (Sharing.KEYS, Sharing.STATES, Sharing.STEPS)
"""Ways of sharing a prefix by device, fastest first. On a CPU, transformers pads positions after a state to a chunk of
64 to 256; single steps take a twentieth of this time with Mamba-2. On a GPU, the number of calls dominates."""

MAX_STATES = 1 << 31  # maximum size of the recurrent states of a batch, in bytes: 2 GiB. Each prompt has its own state.

AS_EXACT = 10  # largest ratio between the error of the way of sharing in use and that of the most exact one

SAME_DIGITS = 8  # errors up to this many units in the last place count as equal


@dataclass(frozen=True)
class SharingTrial:
    """Divergences of random prompts with and without a shared prefix.

    Attributes:
        error: largest difference, nats.
        state_bytes: size of the state of a prompt.
        scale: largest divergence, at least 1 nat.
    """

    error: float
    state_bytes: int
    scale: float


def choose_sharing(
    device_type: str, eps: float, trial: Callable[[Sharing], SharingTrial], warn: Callable[[str], None]
) -> Sharing | None:
    """Return the fastest way of sharing that changes only the last digits; warn and return None if there is none.

    Half of the dtype's digits must agree: products of other shapes differ in the other half. In a model with a weak
    dependence on its state, a layer that ignores the state may pass this test, so the way must also be about as
    exact as the others.

    Args:
        eps: of the model's dtype.
        trial: measures a way; may raise any error if the model does not support it.
    """
    why = "this kind of model cannot continue from a cached prefix"
    exact: dict[Sharing, float] = {}
    for way in WAYS.get(device_type, OTHER_WAYS):
        try:
            found = trial(way)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            continue
        if found.state_bytes > MAX_STATES:
            size, limit = found.state_bytes / 2**30, MAX_STATES / 2**30
            why = f"its state takes {size:.3g} GiB per prompt, the limit is {limit:.3g} GiB"
        elif found.error > (tolerance := eps**0.5 * found.scale):
            off = f"an error of {found.error:.2g} nats, more than {tolerance:.2g}"
            why = f"with a shared prefix, its divergences have {off}"
        else:
            exact[way] = max(found.error, SAME_DIGITS * eps * found.scale)
            if way is Sharing.KEYS:
                break
    if exact:
        return next(way for way, digits in exact.items() if digits <= AS_EXACT * min(exact.values()))
    warn(f"every candidate is run whole, which is slower: {why}")
    return None
