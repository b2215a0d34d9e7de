"""`python -m tests.fuzz.many [KIND…] [--count N] [--seed N]`: test N edited inputs of each kind.

A harmful input is printed with its number; the same seed and number reproduce it.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import tempfile
import time
import traceback
from pathlib import Path
from types import FrameType

from tests.fuzz.inputs import HOSTILE, SEEDS, draw_edits, edited
from tests.fuzz.readers import READERS, token_string

HANGS_AFTER_SECONDS = 10.0
"""Limit of the processor time of an input."""

KINDS = (*READERS, "token")
RAW_SHARE = 0.1
"""Fraction of inputs that are random bytes."""


def main() -> int:
    """Return 0 if every input was harmless, else 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=KINDS)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    signal.signal(signal.SIGVTALRM, _hangs)
    harmful = 0
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as place:
        os.environ["DISTPROMPT_HOME"] = place
        for kind in asked.kinds:
            began = time.process_time()
            bad = sum(_does_harm(kind, number, asked.seed, Path(place)) for number in range(asked.count))
            seconds = time.process_time() - began
            print(f"{kind:20} {asked.count:>8,} inputs {seconds:8.1f} s of processor  {bad} harmful", flush=True)
            harmful += bad
    return 1 if harmful else 0


def _does_harm(kind: str, number: int, seed: int, folder: Path) -> bool:
    chance = random.Random(f"{kind} {seed} {number}")
    signal.setitimer(signal.ITIMER_VIRTUAL, HANGS_AFTER_SECONDS)
    try:
        if kind == "token":
            token_string(_string(chance))
        else:
            READERS[kind](_input(kind, chance), folder)
    except Exception as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename]
        where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames[-3:]))
        print(f"{kind} {number}: {f'{type(error).__name__}: {error}'[:200]!a} at {where}", flush=True)
        return True
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return False


def _input(kind: str, chance: random.Random) -> bytes:
    if chance.random() < RAW_SHARE:
        return chance.randbytes(chance.randrange(200))
    return edited(kind, chance.randrange(len(SEEDS[kind])), draw_edits(chance))


def _string(chance: random.Random) -> str:
    ranges = ((0, 0x20), (0x20, 0x7F), (0x7F, 0x250), (0x300, 0x370), (0x2000, 0x2070), (0xD800, 0xE000), (0, 0x110000))
    chars = [chr(chance.randrange(*chance.choice(ranges))) for _ in range(chance.randrange(12))]
    return "".join([*chars, chance.choice(("", HOSTILE, " ", "👩\u200d👩"))])


def _hangs(number: int, frame: FrameType | None) -> None:
    raise TimeoutError(f"one input took {HANGS_AFTER_SECONDS} seconds of processor time")


if __name__ == "__main__":
    raise SystemExit(main())
