"""Untrusted files give the program's own errors, no hangs, and no invisible characters on the screen.

The suite tests a few hundred inputs of each kind. For more, run `pytest --hypothesis-profile=fuzz tests/fuzz`, or
`python -m tests.fuzz.many`, which draws the same edits without hypothesis: 100,000 in minutes.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.inputs import HOSTILE, OF_BYTES, OF_VALUES, SEEDS, Edit, edited
from tests.fuzz.readers import READERS, token_string

FOUND = {
    "a number of 400 digits": ("events", b'{"t":1,"type":"step","step":1,"kl":1%s}\n' % (b"0" * 400)),
    "words instead of a divergence": (
        "events",
        b'{"t":1,"type":"step","step":1,"kl":"x","best_kl":"x","best_step":1,"entropy":"x","seconds":1}\n',
    ),
    "a reason that controls the terminal": ("events", b'{"t":1,"type":"ended","reason":"\\u001b[2J"}\n'),
    "a denormal entropy": (
        "events",
        b'{"t":1,"type":"step","step":1,"kl":1e-320,"best_kl":1e-320,"best_step":1,"entropy":1e-320,"seconds":1}\n',
    ),
    "a surrogate in a command": ("control", b'{"command":"\\ud800"}\n'),
    "an endless command": ("control", b'{"command":' + b"[" * 3000 + b"\n"),
    "a surrogate in a token": ("target.json", b'{"\\ud800": 0.5}'),
    "an id of 5,001 digits": ("target.csv", b"id:" + b"9" * 5001 + b",0.5\n"),
    "an invalid header": (
        "target.npy",
        SEEDS["target.npy"][0].replace(b"(7,)", b"(((("),
    ),
    "an infinite result": ("result.json", b'{"kl": 1e999}'),
    "a field name that controls the terminal": ("preset", b'"\\u001b[2J" = 1\n[target]\nfamily = "uniform"\n'),
    "a number of 5,000 digits": ("preset", b"seed = " + b"9" * 5000),
    "a family that is a list": ("sweep", SEEDS["sweep"][0].replace(b'family = "vanilla"', b"family = []")),
    "a quick size that is a number": ("sweep", SEEDS["sweep"][0].replace(b"[quick]", b"quick = 7\n[other]")),
    "a row that is a number": ("rows", b"7\n{}\n"),
    "a result without tokens": ("sweep result", b"{}"),
    "a tokenizer without its unknown token": (
        "tokenizer.json",
        edited("tokenizer.json", 0, []).replace(b'"unk_token":"<unk>"', b'"unk_token":"none"'),
    ),
}
"""Inputs that were harmful in earlier versions, or similar ones."""

each_kind = pytest.mark.parametrize("kind", READERS)
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
edits = st.lists(
    st.builds(Edit, st.sampled_from(OF_VALUES + OF_BYTES), st.floats(0, 1, exclude_max=True), st.integers(0, 1 << 16)),
    min_size=1,
    max_size=4,
)


@each_kind
def test_valid_inputs_are_read(kind: str, tmp_path: Path) -> None:
    for seed in range(len(SEEDS[kind])):
        READERS[kind](edited(kind, seed, []), tmp_path)


@pytest.mark.parametrize("what", FOUND)
def test_regression_inputs_are_harmless(what: str, tmp_path: Path) -> None:
    kind, data = FOUND[what]
    READERS[kind](data, tmp_path)


@each_kind
@same_folder
@given(st.integers(0, 100), edits)
def test_edited_inputs_are_harmless(kind: str, tmp_path: Path, seed: int, made: list[Edit]) -> None:
    READERS[kind](edited(kind, seed, made), tmp_path)


@each_kind
@same_folder
@given(st.binary(max_size=200))
def test_random_bytes_are_harmless(kind: str, tmp_path: Path, data: bytes) -> None:
    READERS[kind](data, tmp_path)


@given(st.text(max_size=30) | st.text(st.sampled_from(HOSTILE + "a東\u0301\u200d👩\ud800"), max_size=12))
def test_token_strings_are_visible_and_have_the_requested_width(text: str) -> None:
    token_string(text)
