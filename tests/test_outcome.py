"""The sentences about a result."""

from __future__ import annotations

from distprompt_tui.outcome import outcome_notes


def test_every_outcome_has_its_sentence() -> None:
    result = {
        "kl": 0.52,
        "prompt_ids": [1, 2, 3],
        "length_before": 10,
        "kl_before": 0.5,
        "from_kind": "soft",
        "from_kl": 0.02,
        "fluency": 0.1,
        "log_likelihood": -7.25,
    }
    assert outcome_notes(result) == [
        "shortened from 10 tokens to 3: KL 0.500 before, 0.520 now",
        "started from a soft prompt with KL 0.020: now 0.520, 0.500 nats above",
        "best by KL − 0.1 × the prompt's mean log-likelihood, −7.250 nats a token",
    ]
    assert outcome_notes(result | {"from_kl": 2.0})[1].endswith("1.480 nats below")
    assert outcome_notes({"kl": 0.5}) == []
