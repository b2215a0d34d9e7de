"""`python -m tests.fuzz.atheris_readers KIND [SECONDS]`: find inputs that reach new code of a reader with atheris.

Requires atheris, which is not a dependency of the test suite. It starts from the valid inputs of the kind and stops at
the first harmful input.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["distprompt_tui", "tomllib", "json"]):
    from tests.fuzz.inputs import SEEDS, edited
    from tests.fuzz.readers import READERS


def main() -> None:
    """Never returns: atheris ends the process."""
    kind, seconds = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "60"
    place = Path(tempfile.mkdtemp())
    os.environ["DISTPROMPT_HOME"] = str(place)
    corpus, work = place / "corpus", place / "work"
    corpus.mkdir()
    work.mkdir()
    for seed in range(len(SEEDS[kind])):
        (corpus / str(seed)).write_bytes(edited(kind, seed, []))
    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", "-timeout=20", str(corpus)], lambda data: READERS[kind](data, work)
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
