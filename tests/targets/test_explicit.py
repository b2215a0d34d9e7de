"""`explicit`: probabilities from specs and files, and their errors."""

from __future__ import annotations

from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.core.config.target_specs import Explicit
from distprompt_tui.core.errors import NotFoundError, TargetError
from distprompt_tui.models.vocabulary import Vocabulary
from distprompt_tui.targets import Target, build_target


@pytest.fixture(scope="module")
def vocabulary(word_vocabulary: Any) -> Vocabulary:
    made: Vocabulary = word_vocabulary(5, frozenset({3}))  # rows: t0 t1 t2 - t3 t4
    return made


def from_file(vocabulary: Vocabulary, path: Path, content: str | bytes) -> Target:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return build_target(Explicit(file=str(path)), vocabulary)


def from_array(vocabulary: Vocabulary, folder: Path, array: Any) -> Target:
    np.save(folder / "p.npy", array)
    return build_target(Explicit(file=str(folder / "p.npy")), vocabulary)


def test_probabilities_that_sum_to_one(vocabulary: Vocabulary) -> None:
    target = build_target(Explicit(probabilities={"t1": 0.5, "id:4": 0.5}), vocabulary)
    assert target.probabilities.tolist() == [0, 0.5, 0, 0, 0.5, 0]
    assert target.entropy == pytest.approx(log(2))


def test_remainder_is_uniform_over_other_tokens(vocabulary: Vocabulary) -> None:
    target = build_target(Explicit(probabilities={"t1": 0.4, "t2": 0.0}), vocabulary)
    np.testing.assert_allclose(target.probabilities, [0.2, 0.4, 0, 0, 0.2, 0.2])
    assert target.notes["named_mass"] == pytest.approx(0.4)


def test_remainder_follows_the_model(vocabulary: Vocabulary, fake_model: Any) -> None:
    model = fake_model({"\n": np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.1])})
    target = build_target(Explicit(probabilities={"t1": 0.3}, rest="model"), vocabulary, model)
    np.testing.assert_allclose(target.probabilities, [0.1, 0.3, 0.3, 0, 0.2, 0.1])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=4), st.floats(0, 1))
def test_named_tokens_have_their_probabilities(vocabulary: Vocabulary, weights: list[float], total: float) -> None:
    whole = sum(weights) or 1.0
    masses = {f"t{number}": weight / whole * total for number, weight in enumerate(weights)}
    p = build_target(Explicit(probabilities=masses), vocabulary).probabilities
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert p[3] == 0
    for token, mass in masses.items():
        assert p[vocabulary.id_of(token)] == pytest.approx(mass, rel=1e-8)


def test_rounded_thirds_sum_to_one(vocabulary: Vocabulary) -> None:
    target = build_target(
        Explicit(probabilities={"t0": 0.3333333333, "t1": 0.3333333333, "t2": 0.3333333333}), vocabulary
    )
    assert np.count_nonzero(target.probabilities) == 3
    assert target.probabilities.sum() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("masses", "complaint"),
    [
        ({"t0": 0.6, "t1": 0.5}, "sum to 1.1, more than 1"),
        ({"t0": 1 + 2e-9}, "must be a number from 0 to 1"),
        ({"t0": 0.5, "t1": 0.5 + 2e-9}, "more than 1"),
        ({"t0": 1e308, "t1": 1e308}, "must be a number from 0 to 1"),
        ({"t1": 0.1, "id:1": 0.1}, "'t1' and 'id:1' are the same token"),
        ({"id:3": 0.1}, "outside this vocabulary of 5 tokens"),
        ({"id:6": 0.1}, "outside this vocabulary of 5 tokens"),
        ({"t0": 0.1, "t1": 0.1, "t2": 0.1, "t3": 0.1, "t4": 0.1}, "no other token can take the remainder"),
    ],
)
def test_invalid_probabilities_are_rejected(masses: dict[str, float], complaint: str, vocabulary: Vocabulary) -> None:
    with pytest.raises(TargetError, match=complaint):
        build_target(Explicit(probabilities=masses), vocabulary)


def test_string_of_several_tokens_is_rejected(byte_level: Vocabulary) -> None:
    with pytest.raises(TargetError, match="not one token for this model but"):
        build_target(Explicit(probabilities={" banana split": 0.5}), byte_level)


def test_remainder_without_model_probability_is_rejected(vocabulary: Vocabulary, fake_model: Any) -> None:
    model = fake_model({"\n": np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])})
    with pytest.raises(TargetError, match="no other token can take the remainder"):
        build_target(Explicit(probabilities={"t1": 0.3}, rest="model"), vocabulary, model)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.json", '{"t1": 0.75, "id:4": 0.25}'),
        ("p.json", '{"t1": 0.75, "id:4": 0.25, "t0": 0}'),
        ("p.csv", "t1,0.75\nid:4,0.25\n"),
        ("p.csv", "token,probability\nt1,0.75\n\nid:4,0.25"),
        ("p.csv", "token,mass\nt1,0.75\n\nid:4,0.25"),
        ("P.CSV", '\ufeffToken,Mass\r\n"t1",0.75\r\n"id:4",2.5e-1\r\n'),
    ],
)
def test_files_of_probabilities(name: str, content: str, vocabulary: Vocabulary, tmp_path: Path) -> None:
    target = from_file(vocabulary, tmp_path / name, content)
    assert target.probabilities.tolist() == [0, 0.75, 0, 0, 0.25, 0]


def test_spaces_of_tokens_in_files_are_kept(byte_level: Vocabulary, tmp_path: Path) -> None:
    for name, content in (("p.csv", " banana,1\n"), ("p.json", '{" banana": 1}')):
        assert from_file(byte_level, tmp_path / name, content).probabilities[byte_level.id_of(" banana")] == 1


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("p.json", '{"t1": -0.1}', "probability of 't1' is -0.1"),
        ("p.json", '{"t1": NaN}', "NaN is not a finite number"),
        ("p.json", '{"t1": 1e999}', "1e999 is not a finite number"),
        ("p.json", '{"t1": 1' + "0" * 400 + "}", "probability of 't1' is 1000"),
        ("p.json", '{"t1": "0.5"}', "probability of 't1' must be a number"),
        ("p.json", '{"t1": true}', "probability of 't1' must be a number"),
        ("p.json", '{"t1": {"t2": 0.5}}', "probability of 't1' must be a number"),
        ("p.json", '{"t1": 0.2, "t1": 0.3}', "are the same token"),
        ("p.json", '{"t1": 0.7, "t2": 0.7}', "p.json: the probabilities sum to 1.4"),
        ("p.json", "[0.5, 0.5]", "must be one JSON object"),
        ("p.json", '[{"t1": 0.5}]', "must be one JSON object"),
        ("p.json", "{}", "must be one JSON object"),
        ("p.json", "0.5", "must be one JSON object"),
        ("p.json", '{"t1": 0.5', "is not JSON"),
        ("p.json", b"\xff\xfe\xff", "is not JSON"),
        ("p.json", "[" * 100_000, "is not JSON"),
        ("p.csv", "t1,0.2\nt1,0.3\n", "are the same token"),
        ("p.csv", "t1,O.5\n", "'t1,O.5' does not have the form token,probability"),
        ("p.csv", "t1,0_5e-1\n", "'t1,0_5e-1' does not have the form token,probability"),
        ("p.csv", "t1,0.5,0.5\n", "does not have the form token,probability"),
        ("p.csv", "t1\n", "does not have the form token,probability"),
        ("p.csv", "t1,nan\n", "probability of 't1' is nan"),
        ("p.csv", "t1,-1\n", "probability of 't1' is -1"),
        ("p.csv", "t1,0.9\nt2,0.9\n", "sum to 1.8"),
        ("p.csv", "id:77,0.9\n", "outside this vocabulary"),
        ("p.csv", "token,mass\n", "has no line"),
        ("p.csv", "", "has no line"),
        ("p.csv", b"\xff\xfe", "not a CSV file in UTF-8"),
        ("p.csv", '"t1,0.5\n', "not a CSV file"),
        ("p.npy", b"not an array", "not a .npy file"),
        ("p.npy", b"", "not a .npy file"),
        ("p.npy", b"PK\x03\x04", "not a .npy file"),
        ("p.txt", "t1,0.5\n", "give a .json, .csv or .npy file"),
    ],
)
def test_invalid_files_are_rejected(
    name: str, content: str | bytes, complaint: str, vocabulary: Vocabulary, tmp_path: Path
) -> None:
    with pytest.raises(TargetError, match=complaint):
        from_file(vocabulary, tmp_path / name, content)


def test_missing_file(vocabulary: Vocabulary, tmp_path: Path) -> None:
    for file in (str(tmp_path / "p.csv"), str(tmp_path), "~nobody-of-this-name/p.csv", "\0"):
        with pytest.raises(NotFoundError, match=r"there is no file|not found|invalid path"):
            build_target(Explicit(file=file), vocabulary)


@pytest.mark.parametrize("name", ["p.csv", "p.json", "p.npy"])
def test_unreadable_file(name: str, vocabulary: Vocabulary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / name).touch()
    for reader in ("io.open", "builtins.open"):
        monkeypatch.setattr(reader, refuse)
    with pytest.raises(TargetError, match=rf"{name} cannot be read: Permission denied"):
        build_target(Explicit(file=str(tmp_path / name)), vocabulary)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_full_distribution_is_renormalised(dtype: type, vocabulary: Vocabulary, tmp_path: Path) -> None:
    p = np.array([0.1, 0.2, 0.3, 0, 0.2, 0.2], dtype=dtype) * dtype(1 + 5e-7)
    target = from_array(vocabulary, tmp_path, p)
    np.testing.assert_allclose(target.probabilities, [0.1, 0.2, 0.3, 0, 0.2, 0.2], rtol=1e-6)
    assert target.probabilities.sum() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    ("array", "complaint"),
    [
        (np.full(7, 1 / 7), "for a vocabulary of 7 tokens, but this model has 6"),
        (np.array([0.5, 0.5, 0.5, 0, -0.5, 0]), "negative or non-finite"),
        (np.array([0.5, 0.5, np.nan, 0, 0, 0]), "negative or non-finite"),
        (np.array([0.5, 0.5 + 2e-6, 0, 0, 0, 0]), "must be 1 within 1e-06"),
        (np.array([0.5, 0.4, 0, 0, 0, 0]), "sums to 0.9"),
        (np.array([0.5, 0.4, 0, 0.1, 0, 0]), "probability mass 0.1 on rows without a token"),
        (np.full((2, 3), 1 / 6), "one row of real numbers"),
        (np.full(6, 1 / 6 + 0j), "one row of real numbers"),
        (np.array(["0.5"] * 6), "one row of real numbers"),
        (np.array([None] * 6, dtype=object), "not a .npy file of numbers"),
    ],
)
def test_invalid_distributions_are_rejected(array: Any, complaint: str, vocabulary: Vocabulary, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=complaint):
        from_array(vocabulary, tmp_path, array)
