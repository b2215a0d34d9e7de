"""Findings on made-up rows with known effects."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distprompt_tui.sweeps.curves import panels
from distprompt_tui.sweeps.findings import FindingResult, as_dict, evaluate_finding
from distprompt_tui.sweeps.results import ResultRow
from distprompt_tui.sweeps.significance import holm
from tests.sweeps.factories import hump, row, rows

SOURCES = {"own": None, "other": "gemma", "own dealt": None, "other dealt": "gemma"}


def only(found: list[FindingResult]) -> FindingResult:
    assert len(found) == 1
    return found[0]


def lm_sweep(own: float = 1.0, dealt: float = 3.0, vanilla: float = 4.0, **fields: object) -> list[ResultRow]:
    """Make rows of lm, shuffled and vanilla targets at two entropies."""
    made = []
    for series, family, kl in (("own", "lm", own), ("own dealt", "shuffled", dealt), ("vanilla", "vanilla", vanilla)):
        made += rows(lambda h, kl=kl: kl, (2.0, 4.0), series=series, family=family, **fields)  # type: ignore[misc, arg-type]
    return made


def test_hump_is_supported_with_the_moderate_mean_above_the_higher_end() -> None:
    result = only(evaluate_finding(rows(hump, noise=0.01), "entropy", {}))
    moderate = (hump(3.0) + hump(6.0) + hump(8.0)) / 3
    effect = result.effect("kl")
    assert result.outcome == "supported"
    assert effect is not None
    assert effect.value == pytest.approx(moderate - max(hump(0.5), hump(10.5)), abs=0.01)
    assert effect.targets == 10
    assert [contrast.name for contrast in result.contrasts] == ["moderate − lowest", "moderate − highest"]
    assert result.caveat == ""


def test_noise_is_not_a_hump_and_a_hollow_is_not_supported() -> None:
    flat = [only(evaluate_finding(rows(lambda h: 1.0, seed=seed), "entropy", {})).outcome for seed in range(40)]
    assert "supported" not in flat
    assert flat.count("inconclusive") >= 32
    assert only(evaluate_finding(rows(lambda h: 4 - hump(h)), "entropy", {})).outcome == "not supported"


def test_rise_to_one_end_is_not_a_hump() -> None:
    result = only(evaluate_finding(rows(lambda h: h), "entropy", {}))
    assert [contrast.kl.outcome for contrast in result.contrasts] == ["supported", "not supported"]
    assert result.outcome == "not supported"


def test_split_adds_up_and_gives_the_output_layers_share() -> None:
    contrast = only(evaluate_finding(rows(hump, head_share=0.8), "entropy", {})).binding_contrast
    assert contrast is not None
    assert contrast.head_optimum is not None
    assert contrast.excess is not None
    assert contrast.head_optimum.value + contrast.excess.value == pytest.approx(contrast.kl.value)
    share, interval = contrast.share, contrast.share_interval
    assert share == pytest.approx(0.8, abs=0.03)
    assert share is not None
    assert interval is not None
    assert 0.75 < interval[0] < share < interval[1] < 0.85


def test_finding_without_head_optima_has_no_split() -> None:
    result = only(evaluate_finding(rows(hump, head_share=None), "entropy", {}))
    assert result.outcome == "supported"
    assert result.effect("head_optimum") is result.effect("excess") is None
    assert result.binding_contrast is not None
    assert result.binding_contrast.share is result.binding_contrast.share_interval is None


def test_inconclusive_difference_has_no_share() -> None:
    contrast = only(evaluate_finding(rows(lambda h: 1.0, seed=1), "entropy", {})).binding_contrast
    assert contrast is not None
    assert contrast.kl.outcome == "inconclusive"
    assert contrast.share is contrast.share_interval is None


def test_peak_does_not_depend_on_the_rest_of_the_grid() -> None:
    """Of a high and a low moderate entropy, the mean is no hump; the peak is."""
    made = rows(lambda h: {0.5: 0.5, 2.5: 0.0, 6.5: 3.0, 10.5: 2.0}[h], (0.5, 2.5, 6.5, 10.5))
    narrow = [each for each in made if each.entropy_asked != 2.5]
    whole, less = (only(evaluate_finding(each, "entropy", {})) for each in (made, narrow))
    assert (whole.outcome, less.outcome) == ("not supported", "supported")
    assert whole.peak is not None
    assert less.peak is not None
    assert whole.peak.outcome == "supported"
    assert whole.peak.chosen == ((6.5, 1.0),)
    assert whole.peak.effect("kl") == less.peak.effect("kl")
    assert whole.peak.effect("kl").value == pytest.approx(1.0, abs=0.1)
    contrast = whole.peak.binding_contrast
    assert contrast.name == "peak − highest"
    assert contrast.head_optimum.value + contrast.excess.value == pytest.approx(contrast.kl.value)
    assert contrast.share == pytest.approx(0.9, abs=0.1)


def test_peak_uses_targets_with_a_result_at_every_entropy() -> None:
    made = rows(hump, targets=5)
    part = [each for each in made if (each.target_index, each.entropy_asked) not in ((0, 6.0), (4, 0.5))]
    peak = only(evaluate_finding(part, "entropy", {})).peak
    assert peak is not None
    assert peak.effect("kl").targets == 3
    alone = [each for each in part if each.target_index in (0, 1)]
    assert only(evaluate_finding(alone, "entropy", {})).peak is None


def test_stuck_search_moves_the_mean_but_not_the_median() -> None:
    made = [replace(each, series="one", family="outlier", kl=0.0) for each in rows(lambda h: 1.0, (3.0,), noise=0)]
    hard = rows(lambda h: 1.0, (3.0,), noise=0)
    hard[0] = replace(hard[0], kl=-9.0)
    contrast = only(evaluate_finding([*made, *hard], "outliers", {})).binding_contrast
    assert contrast is not None
    assert (contrast.kl.value, contrast.median) == pytest.approx((0.0, 1.0))
    assert contrast.p_value == pytest.approx(513 / 1024)  # −9 outweighs the nine others


def test_p_values_are_adjusted_over_the_whole_report() -> None:
    made = rows(hump, seed=1) + rows(lambda h: 1.0, seed=2, series="flat") + rows(hump, seed=3, method="hard", noise=2)
    results = evaluate_finding(made, "entropy", {})
    tested = [each for result in results for each in (*result.contrasts, *result.peak.contrasts)]
    assert len(tested) == 12
    assert [each.p_holm for each in tested] == holm([each.p_value or 0.0 for each in tested])
    assert results[0].p_value == 1 / 1024
    assert results[0].p_holm == pytest.approx(12 / 1024)
    flat = [each.p_value or 0.0 for each in results[1].contrasts]
    assert results[1].p_value == max(flat) > 0.025
    alone = only(evaluate_finding(rows(hump, seed=1), "entropy", {}))
    assert alone.p_holm == pytest.approx(4 / 1024)


def test_single_entropies_are_not_tested() -> None:
    made = rows(lambda h: 5.0) + rows(lambda h: 4.0, series="one", family="outlier")
    result = only(evaluate_finding(made, "outliers", {}))
    assert {contrast.p_value for _, contrast in result.by_entropy} == {None}
    assert result.p_holm == result.p_value == 1 / 1024


def test_texts_are_no_random_sample() -> None:
    assert only(evaluate_finding(lm_sweep(), "lm-targets", SOURCES)).sampling == "texts"
    assert only(evaluate_finding(rows(hump, family="shuffled"), "entropy", {})).sampling == "texts"
    assert only(evaluate_finding(rows(hump), "entropy", {})).sampling == "random"


def test_split_uses_the_searches_with_a_head_optimum() -> None:
    made = rows(hump, noise=0)
    some = [replace(each, head_optimum=None) if each.target_index == 0 else each for each in made]
    contrast = only(evaluate_finding(some, "entropy", {})).binding_contrast
    assert contrast is not None
    assert contrast.head_optimum is not None
    assert (contrast.kl.targets, contrast.head_optimum.targets) == (10, 9)
    assert contrast.share == pytest.approx(0.9)


def test_two_entropies_are_too_few() -> None:
    result = only(evaluate_finding(rows(hump, (0.5, 6.0)), "entropy", {}))
    assert result.outcome == "not tested"
    assert "three entropies" in result.untested_reason
    assert only(evaluate_finding(rows(hump, (0.5, 6.0, 10.5)), "entropy", {})).outcome == "supported"


def test_few_targets_have_a_caveat() -> None:
    result = only(evaluate_finding(rows(hump, targets=1), "entropy", {}))
    assert result.outcome == "inconclusive"
    assert result.caveat == "a single target gives no interval"
    assert "from 3 targets" in only(evaluate_finding(rows(hump, targets=3), "entropy", {})).caveat


def test_outliers_are_paired_by_entropy_and_target() -> None:
    hard = rows(lambda h: h, noise=3, seed=1)
    easy = [replace(each, series="one", family="outlier", kl=each.kl - 0.5) for each in hard]
    result = only(evaluate_finding([*hard, *easy], "outliers", {}))
    effect = result.effect("kl")
    assert effect is not None  # the large noise is in both of a pair, and none of it in their difference
    assert (effect.value, effect.low, effect.high) == pytest.approx((0.5, 0.5, 0.5))
    assert [asked for asked, _ in result.by_entropy] == [0.5, 3.0, 6.0, 8.0, 10.5]
    assert all(contrast.kl.value == pytest.approx(0.5) for _, contrast in result.by_entropy)


def test_only_pairs_count() -> None:
    hard = rows(lambda h: 5.0, noise=0, targets=10)
    easy = rows(lambda h: 4.0, (3.0, 6.0), noise=0, targets=7, series="one", family="outlier")
    result = only(evaluate_finding([*hard, *easy], "outliers", {}))
    effect = result.effect("kl")
    assert effect is not None
    assert (effect.value, effect.targets) == (1.0, 7)
    assert [asked for asked, _ in result.by_entropy] == [3.0, 6.0]


def test_findings_are_separate_for_each_model_and_method() -> None:
    made = rows(lambda h: 5.0) + rows(lambda h: 4.0, series="one", family="outlier")
    made += [replace(each, model="other", kl=9.0 if each.family == "outlier" else 5.0) for each in made]
    found = {result.setting.model: result.outcome for result in evaluate_finding(made, "outliers", {})}
    assert found == {"toy": "supported", "other": "not supported"}


def test_lm_targets_must_be_easier_than_both_controls() -> None:
    result = only(evaluate_finding(lm_sweep(), "lm-targets", SOURCES))
    assert result.outcome == "supported"
    assert result.effect("kl").value == pytest.approx(2.0, abs=0.1)  # type: ignore[union-attr]
    assert only(evaluate_finding(lm_sweep(vanilla=0.5), "lm-targets", SOURCES)).outcome == "not supported"
    assert only(evaluate_finding(lm_sweep(dealt=0.5), "lm-targets", SOURCES)).outcome == "not supported"


def test_lm_targets_are_compared_with_their_own_shuffled_probabilities() -> None:
    made = lm_sweep() + rows(lambda h: 9.0, (2.0, 4.0), series="other dealt", family="shuffled")
    assert only(evaluate_finding(made, "lm-targets", SOURCES)).effect("kl").value == pytest.approx(2.0, abs=0.1)  # type: ignore[union-attr]


def test_missing_control_is_named() -> None:
    made = [each for each in lm_sweep() if each.family != "shuffled"]
    result = only(evaluate_finding(made, "lm-targets", SOURCES))
    assert result.outcome == "not tested"
    assert "shuffled" in result.untested_reason


def test_targets_with_their_own_entropy_are_paired() -> None:
    made = rows(lambda h: 1.0, (None,), series="one", family="outlier") + rows(lambda h: 2.0, (None,))
    result = only(evaluate_finding(made, "outliers", {}))
    assert [asked for asked, _ in result.by_entropy] == [None]
    assert result.outcome == "supported"


@settings(max_examples=10)
@given(st.randoms(use_true_random=False))
def test_findings_do_not_depend_on_the_order_of_rows(order: random.Random) -> None:
    made = lm_sweep(targets=4)
    shuffled = order.sample(made, len(made))
    assert evaluate_finding(shuffled, "lm-targets", SOURCES) == evaluate_finding(made, "lm-targets", SOURCES)


def test_seeds_of_a_target_are_averaged() -> None:
    made = [
        replace(each, kl=each.kl + offset, seed=seed)
        for each in rows(hump, targets=3)
        for seed, offset in ((0, -1.0), (1, 1.0))
    ]
    twice, once = (only(evaluate_finding(each, "entropy", {})).effect("kl") for each in (made, rows(hump, targets=3)))
    assert twice is not None
    assert once is not None
    assert (twice.value, twice.low, twice.targets) == pytest.approx((once.value, once.low, 3))


def test_best_restart_of_a_target_counts_with_its_own_parts() -> None:
    once = rows(hump, targets=6)
    made = [
        replace(each, kl=each.kl + added, restart=restart)
        for each in once
        for restart, added in enumerate((3.0, 0.0, 1.0))
    ]
    assert evaluate_finding(made, "entropy", {}) == evaluate_finding(once, "entropy", {})
    assert panels(made) == panels(once)


def test_best_restart_counts_before_seeds_are_averaged() -> None:
    made = [
        replace(each, kl=kl, seed=seed, restart=restart)
        for each in rows(lambda h: 0.0, (3.0,), noise=0)
        for seed, restart, kl in ((0, 0, 1.0), (0, 1, 5.0), (1, 0, 9.0), (1, 1, 3.0))
    ]
    (panel,) = panels(made)
    assert panel.curves[0].points[0].kl.value == 2.0


def test_finding_is_json_compatible_with_its_configuration() -> None:
    found = json.loads(json.dumps(as_dict(only(evaluate_finding(lm_sweep(), "lm-targets", SOURCES))), allow_nan=False))
    assert (found["model"], found["method"], found["length"], found["series"]) == ("toy", "soft", 10, "own")
    assert found["outcome"] == "supported"
    assert found["kl"]["low"] <= found["kl"]["value"] <= found["kl"]["high"]
    assert found["output_layer_share"] == pytest.approx(0.9, abs=0.05)
    low, high = found["output_layer_share_interval"]
    assert low <= found["output_layer_share"] <= high
    assert [each["entropy"] for each in found["by_entropy"]] == [2.0, 4.0, 2.0, 4.0]
    assert [each["p_holm"] for each in found["contrasts"]] == [2 / 1024] * 2
    assert (found["p_value"], found["p_holm"], found["sampling"]) == (1 / 1024, 2 / 1024, "texts")
    assert found["peak"] is None
    peak = json.loads(json.dumps(as_dict(only(evaluate_finding(rows(hump), "entropy", {}))), allow_nan=False))["peak"]
    assert peak["chosen"] == [{"entropy": 6.0, "fraction": 1.0}]
    assert (peak["outcome"], peak["p_holm"]) == ("supported", 4 / 1024)
    untested = as_dict(only(evaluate_finding([row()], "entropy", {})))
    assert (untested["outcome"], untested["kl"]) == ("not tested", None)


def test_single_row_is_not_tested() -> None:
    for finding in ("entropy", "outliers", "lm-targets"):
        assert all(result.outcome == "not tested" for result in evaluate_finding([row()], finding, {}))  # type: ignore[arg-type]
        assert evaluate_finding([], finding, {}) == []  # type: ignore[arg-type]
