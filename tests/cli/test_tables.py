"""Tables of the command line."""

from __future__ import annotations

from rich.console import Console

from distprompt_tui.cli.tables import token_table
from distprompt_tui.runs.schema import TokenMass

ROWS = [TokenMass(0, " yes", 0.5, 0.25, 0.1), TokenMass(1, " no", 0.25, 0.25, 0.0)]


def printed(vocab_size: int) -> list[str]:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(token_table(ROWS, 0.4, vocab_size))
    return capture.get().splitlines()


def test_the_last_row_sums_the_tokens_that_are_cut() -> None:
    assert printed(49_152)[-1].split() == ["49,150", "others", "0.2500", "0.5000", "+0.2500", "75", "%"]


def test_a_whole_vocabulary_has_no_others() -> None:
    assert printed(2)[-1].split()[0] == "·no"
