"""Verdicts on made-up rows whose effects are known."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distprompt_tui.sweeps.findings import Verdict, as_dict, judge
from distprompt_tui.sweeps.results import Row
from tests.sweeps.factories import hump, row, rows

SOURCES = {"own": None, "other": "gemma", "own dealt": None, "other dealt": "gemma"}


def only(found: list[Verdict]) -> Verdict:
    assert len(found) == 1
    return found[0]


def lm_sweep(own: float = 1.0, dealt: float = 3.0, vanilla: float = 4.0, **fields: object) -> list[Row]:
    """A language model's targets, the same dealt to other tokens, and vanilla ones, at two entropies."""
    made = []
    for series, family, kl in (("own", "lm", own), ("own dealt", "shuffled", dealt), ("vanilla", "vanilla", vanilla)):
        made += rows(lambda h, kl=kl: kl, (2.0, 4.0), series=series, family=family, **fields)  # type: ignore[misc, arg-type]
    return made


def test_the_hump_holds_and_its_size_is_the_moderate_mean_above_the_higher_end() -> None:
    verdict = only(judge(rows(hump, noise=0.01), "entropy", {}))
    moderate = (hump(3.0) + hump(6.0) + hump(8.0)) / 3
    effect = verdict.effect("kl")
    assert verdict.outcome == "supported"
    assert effect is not None
    assert effect.value == pytest.approx(moderate - max(hump(0.5), hump(10.5)), abs=0.01)
    assert effect.targets == 10
    assert [contrast.name for contrast in verdict.contrasts] == ["moderate − lowest", "moderate − highest"]
    assert verdict.caveat == ""


def test_noise_alone_is_no_hump_and_a_hollow_is_the_contrary() -> None:
    flat = [only(judge(rows(lambda h: 1.0, seed=seed), "entropy", {})).outcome for seed in range(40)]
    assert "supported" not in flat
    assert flat.count("inconclusive") >= 32
    assert only(judge(rows(lambda h: 4 - hump(h)), "entropy", {})).outcome == "not supported"


def test_a_rise_to_one_end_is_no_hump_although_the_middle_is_above_the_other() -> None:
    verdict = only(judge(rows(lambda h: h), "entropy", {}))
    assert [contrast.kl.outcome for contrast in verdict.contrasts] == ["supported", "not supported"]
    assert verdict.outcome == "not supported"


def test_the_split_adds_up_and_names_the_output_layers_share() -> None:
    contrast = only(judge(rows(hump, head_share=0.8), "entropy", {})).deciding
    assert contrast is not None
    assert contrast.head_optimum is not None
    assert contrast.excess is not None
    assert contrast.head_optimum.value + contrast.excess.value == pytest.approx(contrast.kl.value)
    assert contrast.share == pytest.approx(0.8, abs=0.03)


def test_without_head_optima_there_is_a_verdict_and_no_split() -> None:
    verdict = only(judge(rows(hump, head_share=None), "entropy", {}))
    assert verdict.outcome == "supported"
    assert verdict.effect("head_optimum") is verdict.effect("excess") is None
    assert verdict.deciding is not None
    assert verdict.deciding.share is None


def test_with_some_head_optima_the_split_is_of_the_searches_that_have_one() -> None:
    made = rows(hump, noise=0)
    some = [replace(each, head_optimum=None) if each.target_index == 0 else each for each in made]
    contrast = only(judge(some, "entropy", {})).deciding
    assert contrast is not None
    assert contrast.head_optimum is not None
    assert (contrast.kl.targets, contrast.head_optimum.targets) == (10, 9)
    assert contrast.share == pytest.approx(0.9)


def test_a_point_that_was_refused_is_not_there_and_two_entropies_are_too_few() -> None:
    verdict = only(judge(rows(hump, (0.5, 6.0)), "entropy", {}))
    assert verdict.outcome == "not tested"
    assert "three entropies" in verdict.untested_reason
    assert only(judge(rows(hump, (0.5, 6.0, 10.5)), "entropy", {})).outcome == "supported"


def test_one_target_says_that_it_gives_no_interval() -> None:
    verdict = only(judge(rows(hump, targets=1), "entropy", {}))
    assert verdict.outcome == "inconclusive"
    assert verdict.caveat == "one target alone gives no interval"
    assert "from 3 targets" in only(judge(rows(hump, targets=3), "entropy", {})).caveat


def test_outliers_are_paired_by_entropy_and_target() -> None:
    hard = rows(lambda h: h, noise=3, seed=1)
    easy = [replace(each, series="one", family="outlier", kl=each.kl - 0.5) for each in hard]
    verdict = only(judge([*hard, *easy], "outliers", {}))
    effect = verdict.effect("kl")
    assert effect is not None  # the large noise is in both of a pair, and none of it in their difference
    assert (effect.value, effect.low, effect.high) == pytest.approx((0.5, 0.5, 0.5))
    assert [asked for asked, _ in verdict.by_entropy] == [0.5, 3.0, 6.0, 8.0, 10.5]
    assert all(contrast.kl.value == pytest.approx(0.5) for _, contrast in verdict.by_entropy)


def test_only_pairs_count_where_one_side_has_fewer() -> None:
    hard = rows(lambda h: 5.0, noise=0, targets=10)
    easy = rows(lambda h: 4.0, (3.0, 6.0), noise=0, targets=7, series="one", family="outlier")
    verdict = only(judge([*hard, *easy], "outliers", {}))
    effect = verdict.effect("kl")
    assert effect is not None
    assert (effect.value, effect.targets) == (1.0, 7)
    assert [asked for asked, _ in verdict.by_entropy] == [3.0, 6.0]


def test_each_model_and_method_has_its_own_verdict() -> None:
    made = rows(lambda h: 5.0) + rows(lambda h: 4.0, series="one", family="outlier")
    made += [replace(each, model="other", kl=9.0 if each.family == "outlier" else 5.0) for each in made]
    found = {verdict.setting.model: verdict.outcome for verdict in judge(made, "outliers", {})}
    assert found == {"toy": "supported", "other": "not supported"}


def test_lm_targets_must_be_easier_than_both_controls() -> None:
    verdict = only(judge(lm_sweep(), "lm-targets", SOURCES))
    assert verdict.outcome == "supported"
    assert verdict.effect("kl").value == pytest.approx(2.0, abs=0.1)  # type: ignore[union-attr]
    assert only(judge(lm_sweep(vanilla=0.5), "lm-targets", SOURCES)).outcome == "not supported"
    assert only(judge(lm_sweep(dealt=0.5), "lm-targets", SOURCES)).outcome == "not supported"


def test_an_lm_target_is_held_against_its_own_probabilities_dealt_anew() -> None:
    made = lm_sweep() + rows(lambda h: 9.0, (2.0, 4.0), series="other dealt", family="shuffled")
    assert only(judge(made, "lm-targets", SOURCES)).effect("kl").value == pytest.approx(2.0, abs=0.1)  # type: ignore[union-attr]


def test_a_control_that_is_missing_is_named() -> None:
    made = [each for each in lm_sweep() if each.family != "shuffled"]
    verdict = only(judge(made, "lm-targets", SOURCES))
    assert verdict.outcome == "not tested"
    assert "shuffled" in verdict.untested_reason


def test_targets_that_are_taken_as_they_come_are_pairs_too() -> None:
    made = rows(lambda h: 1.0, (None,), series="one", family="outlier") + rows(lambda h: 2.0, (None,))
    verdict = only(judge(made, "outliers", {}))
    assert [asked for asked, _ in verdict.by_entropy] == [None]
    assert verdict.outcome == "supported"


@settings(max_examples=10)
@given(st.randoms(use_true_random=False))
def test_the_order_of_the_rows_changes_nothing(order: random.Random) -> None:
    made = lm_sweep(targets=4)
    shuffled = order.sample(made, len(made))
    assert judge(shuffled, "lm-targets", SOURCES) == judge(made, "lm-targets", SOURCES)


def test_seeds_of_a_target_are_one_result_of_it() -> None:
    made = [
        replace(each, kl=each.kl + offset, seed=seed)
        for each in rows(hump, targets=3)
        for seed, offset in ((0, -1.0), (1, 1.0))
    ]
    twice, once = (only(judge(each, "entropy", {})).effect("kl") for each in (made, rows(hump, targets=3)))
    assert twice is not None
    assert once is not None
    assert (twice.value, twice.low, twice.targets) == pytest.approx((once.value, once.low, 3))


def test_a_verdict_goes_into_json_and_says_what_it_is_of() -> None:
    found = json.loads(json.dumps(as_dict(only(judge(lm_sweep(), "lm-targets", SOURCES))), allow_nan=False))
    assert (found["model"], found["method"], found["length"], found["series"]) == ("toy", "soft", 10, "own")
    assert found["outcome"] == "supported"
    assert found["kl"]["low"] <= found["kl"]["value"] <= found["kl"]["high"]
    assert found["output_layer_share"] == pytest.approx(0.9, abs=0.05)
    assert [each["entropy"] for each in found["by_entropy"]] == [2.0, 4.0, 2.0, 4.0]
    untested = as_dict(only(judge([row()], "entropy", {})))
    assert (untested["outcome"], untested["kl"]) == ("not tested", None)


def test_a_row_alone_is_no_reason_to_fall_over() -> None:
    for finding in ("entropy", "outliers", "lm-targets"):
        assert all(verdict.outcome == "not tested" for verdict in judge([row()], finding, {}))  # type: ignore[arg-type]
        assert judge([], finding, {}) == []  # type: ignore[arg-type]
