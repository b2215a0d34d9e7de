"""Differences between specs, including nested tables and unusual keys."""

from __future__ import annotations

from distprompt_tui.runs.compare import spec_differences


def test_differing_fields_are_listed_in_spec_order() -> None:
    first = {
        "title": "One",
        "seed": 0,
        "target": {"family": "outlier", "tokens": [" é"], "entropy": 6.0},
        "search": {"method": "soft", "lr": 1.5, "length": 10},
    }
    second = {
        "title": "Two",
        "seed": 1,
        "target": {"family": "outlier", "tokens": [" b"], "entropy": 6.0},
        "search": {"method": "hard", "length": 10, "width": 64},
    }
    assert spec_differences([first, second]) == {
        "seed": ["0", "1"],
        "target.tokens": ['[" é"]', '[" b"]'],
        "search.method": ["soft", "hard"],
        "search.lr": ["1.5", None],
        "search.width": [None, "64"],
    }


def test_unusual_keys_are_quoted() -> None:
    specs = [
        {"target": {"probabilities": {" heads": 0.5}}},
        {"target": {"probabilities": {" heads": 0.25, "a.b": 1}}},
        {},
    ]
    assert spec_differences(specs) == {
        'target.probabilities." heads"': ["0.5", "0.25", None],
        'target.probabilities."a.b"': [None, "1", None],
    }


def test_equal_and_empty_specs_do_not_differ() -> None:
    assert spec_differences([{"seed": 1}, {"seed": 1}]) == {}
    assert spec_differences([{}, {}]) == {}
    assert spec_differences([]) == {}
