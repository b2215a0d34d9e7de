"""Tests the paper's three findings on the rows of a sweep: effects in nats with intervals, and outcomes.

An effect is a difference of mean divergences; a positive effect supports the finding. If a finding claims that
something is harder (or easier) than two others, both differences must be above zero, each at 95 %. An
intersection-union test needs no correction for two tests. The smaller difference decides.

- `entropy`: moderate entropy is harder than very low and very high entropy. All entropies of the grid between its
  lowest and its highest are moderate, with equal weights. The choice precedes the results, so no peak is picked out of
  noise. The mean over them is lower than the peak, so the effect can only understate the curve. A second
  estimate is the height of the peak, chosen on other targets than those it is measured on (`peak.py`).
- `outliers`: at equal entropy, vanilla minus outlier, paired by entropy and target.
- `lm-targets`: `shuffled` and `vanilla` minus `lm`, paired by entropy and target.

Each difference is also computed for the head optimum and for the excess above it. The two add up to the whole, so the
head optimum's share is the effect of the output layer alone. Each difference has the median over the targets and a
sign-flip test beside mean and interval; Holm's correction is over all differences that are tested in one report.
Differences at single entropies are not tested.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.sweeps.bootstrap import FEWEST_TARGETS, MeanCI, Outcome, average, ratio
from distprompt_tui.sweeps.peak import cross_fitted_weights
from distprompt_tui.sweeps.pivot import Measure, entropies_of, group_by_config, table, targets_of
from distprompt_tui.sweeps.results import ResultRow, SearchConfig
from distprompt_tui.sweeps.significance import holm, sign_flip_p
from distprompt_tui.sweeps.sweep_spec import TEXT_FAMILIES, Finding

SplitMeasure = Literal["kl", "head_optimum", "excess"]

HYPOTHESES: dict[Finding, str] = {
    "entropy": "moderate entropy is harder than very low and very high entropy",
    "outliers": "at equal entropy, targets with outliers are easier",
    "lm-targets": "language models' targets are easier than shuffled and random ones",
}


@dataclass(frozen=True)
class Contrast:
    """A difference of means in nats; `head_optimum` and `excess`, of the same searches, are None if unknown.

    Attributes:
        head_optimum_ratio: the head optimum's part of the difference, a fraction.
        median: of the differences of single targets with all results.
        p_value: one-sided, of a difference above zero, by the sign-flip test over these targets.
        p_holm: the same, adjusted for all tests of the report.
    """

    name: str
    kl: MeanCI
    head_optimum: MeanCI | None = None
    excess: MeanCI | None = None
    head_optimum_ratio: MeanCI | None = None
    median: float | None = None
    p_value: float | None = None
    p_holm: float | None = None

    @property
    def share(self) -> float | None:
        """The head optimum's share of the difference; None if the difference is inconclusive."""
        return None if self.head_optimum_ratio is None or not self._is_clear else self.head_optimum_ratio.value

    @property
    def share_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the share, by a bootstrap over targets."""
        ratio = self.head_optimum_ratio
        if ratio is None or ratio.low is None or ratio.high is None or not self._is_clear:
            return None
        return ratio.low, ratio.high

    @property
    def _is_clear(self) -> bool:
        return self.kl.outcome != "inconclusive"


class Comparisons:
    """Differences that must all be above zero."""

    contrasts: tuple[Contrast, ...]

    @property
    def binding_contrast(self) -> Contrast | None:
        return min(self.contrasts, key=lambda contrast: contrast.kl.value, default=None)

    @property
    def outcome(self) -> Outcome | Literal["not tested"]:
        effect = self.effect("kl")
        return "not tested" if effect is None else effect.outcome

    def effect(self, measure: SplitMeasure) -> MeanCI | None:
        """Return the smallest difference, with the smallest ends of all intervals: above zero only if all are."""
        known = [found for contrast in self.contrasts if (found := getattr(contrast, measure)) is not None]
        if not known or len(known) < len(self.contrasts):
            return None
        lows = [each.low for each in known if each.low is not None]
        highs = [each.high for each in known if each.high is not None]
        whole = len(lows) == len(known)
        return MeanCI(
            min(each.value for each in known),
            min(lows) if whole else None,
            min(highs) if whole else None,
            min(each.targets for each in known),
        )

    @property
    def p_value(self) -> float | None:
        """The largest p-value: an intersection-union test of all differences."""
        return _largest(contrast.p_value for contrast in self.contrasts)

    @property
    def p_holm(self) -> float | None:
        return _largest(contrast.p_holm for contrast in self.contrasts)


def _largest(p_values: Iterable[float | None]) -> float | None:
    known = list(p_values)
    return None if not known or None in known else max(p for p in known if p is not None)


@dataclass(frozen=True)
class CrossFittedPeak(Comparisons):
    """The peak of a curve minus its two ends; the peak is chosen on other targets.

    `chosen` holds the entropies that were chosen, and the fraction of choices of each.
    """

    contrasts: tuple[Contrast, ...]
    chosen: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class FindingResult(Comparisons):
    """A finding on one setting and series.

    Attributes:
        contrasts: must all be above zero; empty if the finding could not be tested.
        by_entropy: the differences at each entropy, if they are paired by entropy.
        peak: for finding `entropy`, a second estimate that does not depend on the grid's other entropies.
        sampling: "texts" if targets are made from chosen texts; the result then describes these texts only.
        missing: number of unfinished searches of the setting.
    """

    finding: Finding
    setting: SearchConfig
    series: str
    contrasts: tuple[Contrast, ...] = ()
    by_entropy: tuple[tuple[float | None, Contrast], ...] = ()
    untested_reason: str = ""
    missing: int = 0
    peak: CrossFittedPeak | None = None
    sampling: Literal["random", "texts"] = "random"

    @property
    def word(self) -> str:
        """The outcome, marked as preliminary if searches are missing."""
        return f"{self.outcome} so far" if self.missing and self.contrasts else self.outcome

    @property
    def caveat(self) -> str:
        """A warning about the interval; empty if there is none."""
        effect = self.effect("kl")
        if effect is None or effect.targets >= FEWEST_TARGETS:
            return ""
        if effect.low is None:
            return "a single target gives no interval"
        return f"an interval from {effect.targets} targets is too narrow; 95 % needs at least {FEWEST_TARGETS}"


def as_dict(result: FindingResult) -> dict[str, Any]:
    contrast = result.binding_contrast
    return {
        "finding": result.finding,
        **result.setting._asdict(),
        "series": result.series,
        "outcome": result.outcome,
        "missing": result.missing,
        **_effects_as_dict(result),
        "p_value": result.p_value,
        "p_holm": result.p_holm,
        "output_layer_share": None if contrast is None else contrast.share,
        "output_layer_share_interval": None if contrast is None else contrast.share_interval,
        "contrasts": [asdict(contrast) for contrast in result.contrasts],
        "by_entropy": [{"entropy": asked, **asdict(contrast)} for asked, contrast in result.by_entropy],
        "peak": None if result.peak is None else _peak_as_dict(result.peak),
        "sampling": result.sampling,
        "note": result.untested_reason or result.caveat,
    }


def _peak_as_dict(peak: CrossFittedPeak) -> dict[str, Any]:
    return {
        "outcome": peak.outcome,
        **_effects_as_dict(peak),
        "p_value": peak.p_value,
        "p_holm": peak.p_holm,
        "contrasts": [asdict(contrast) for contrast in peak.contrasts],
        "chosen": [{"entropy": entropy, "fraction": fraction} for entropy, fraction in peak.chosen],
    }


def _effects_as_dict(comparisons: Comparisons) -> dict[str, Any]:
    effects = {measure: comparisons.effect(measure) for measure in get_args(SplitMeasure)}
    return {name: None if effect is None else asdict(effect) for name, effect in effects.items()}


def evaluate_finding(
    rows: Sequence[ResultRow], finding: Finding, sources: Mapping[str, str | None]
) -> list[FindingResult]:
    """Test a finding on each model, method, length and matching series.

    `sources` gives, for each `lm` and `shuffled` series, the model that makes its targets; None for the searched model.
    """
    test = {"entropy": _entropy, "outliers": _outliers, "lm-targets": _lm_targets}[finding]
    return _with_holm(
        [result for setting, series in group_by_config(rows).items() for result in test(setting, series, dict(sources))]
    )


def _with_holm(results: Sequence[FindingResult]) -> list[FindingResult]:
    """Adjust the p-values of all differences, those of cross-fitted peaks included."""
    tested = [contrast for result in results for contrast in (*result.contrasts, *_of_peak(result))]
    adjusted = iter(holm([contrast.p_value for contrast in tested if contrast.p_value is not None]))

    def with_p_holm(contrasts: Iterable[Contrast]) -> tuple[Contrast, ...]:  # in the order of `tested`
        return tuple(
            contrast if contrast.p_value is None else replace(contrast, p_holm=next(adjusted)) for contrast in contrasts
        )

    return [
        replace(
            result,
            contrasts=with_p_holm(result.contrasts),
            peak=result.peak and replace(result.peak, contrasts=with_p_holm(_of_peak(result))),
        )
        for result in results
    ]


def _of_peak(result: FindingResult) -> tuple[Contrast, ...]:
    return () if result.peak is None else result.peak.contrasts


def _entropy(
    setting: SearchConfig, series: dict[str, list[ResultRow]], sources: dict[str, str | None]
) -> Iterator[FindingResult]:
    for name, rows in series.items():
        entropies = [asked for asked in entropies_of(rows) if asked is not None]
        if len(entropies) < 3:
            untested_reason = f"needs results at three entropies, has {len(entropies)}"
            yield FindingResult("entropy", setting, name, untested_reason=untested_reason)
            continue
        moderate = np.full(len(entropies), 1 / (len(entropies) - 2))
        moderate[[0, -1]] = 0
        ends = np.eye(len(entropies))[[0, -1]]
        tables = {measure: table(rows, measure, targets_of(rows), entropies) for measure in get_args(SplitMeasure)}
        contrasts = [
            _tested_contrast(f"moderate − {end}", tables, moderate - at)
            for end, at in zip(("lowest", "highest"), ends, strict=True)
        ]
        yield FindingResult(
            "entropy",
            setting,
            name,
            tuple(contrast for contrast in contrasts if contrast is not None),
            peak=_cross_fitted_peak(tables, entropies),
            sampling=_sampling(rows),
        )


def _cross_fitted_peak(
    tables: Mapping[Measure, NDArray[np.float64]], entropies: Sequence[float]
) -> CrossFittedPeak | None:
    """Compare the peak between the two ends with both, on the targets with a result at every entropy; None for one."""
    complete = ~np.isnan(tables["kl"]).any(1)
    if complete.sum() < 2:
        return None
    whole = {measure: values[complete] for measure, values in tables.items()}
    weights = cross_fitted_weights(whole["kl"][:, 1:-1])
    contrasts = []
    for end, column in (("lowest", 0), ("highest", -1)):
        differences = {
            measure: (np.where(weights > 0, weights * values[:, 1:-1], 0).sum(1) - values[:, column])[:, None]
            for measure, values in whole.items()
        }
        contrasts.append(_tested_contrast(f"peak − {end}", differences, np.ones(1)))
    fractions = zip(entropies[1:-1], weights.mean(0).tolist(), strict=True)
    return CrossFittedPeak(
        tuple(contrast for contrast in contrasts if contrast is not None),
        tuple((entropy, fraction) for entropy, fraction in fractions if fraction > 0),
    )


def _sampling(*groups: Iterable[ResultRow]) -> Literal["random", "texts"]:
    return "texts" if any(row.family in TEXT_FAMILIES for rows in groups for row in rows) else "random"


def _outliers(
    setting: SearchConfig, series: dict[str, list[ResultRow]], sources: dict[str, str | None]
) -> Iterator[FindingResult]:
    vanilla = _of_family(series, "vanilla")
    for name, rows in series.items():
        if rows[0].family == "outlier":
            yield _compared("outliers", setting, name, rows, {"vanilla": vanilla})


def _lm_targets(
    setting: SearchConfig, series: dict[str, list[ResultRow]], sources: dict[str, str | None]
) -> Iterator[FindingResult]:
    for name, rows in series.items():
        if rows[0].family != "lm":
            continue
        of_the_same = {other: rows for other, rows in series.items() if sources.get(other) == sources.get(name)}
        shuffled = _of_family(of_the_same, "shuffled") or _of_family(series, "shuffled")
        controls = {"shuffled": shuffled, "vanilla": _of_family(series, "vanilla")}
        yield _compared("lm-targets", setting, name, rows, controls)


def _of_family(series: Mapping[str, list[ResultRow]], family: str) -> list[ResultRow]:
    return [row for rows in series.values() for row in rows if row.family == family]


def _compared(
    finding: Finding, setting: SearchConfig, name: str, rows: list[ResultRow], controls: Mapping[str, list[ResultRow]]
) -> FindingResult:
    contrasts: list[Contrast] = []
    by_entropy: list[tuple[float | None, Contrast]] = []
    for control, others in controls.items():
        tables, entropies = _differences(others, rows)
        label = f"{control} − {name}"
        whole = _tested_contrast(label, tables, np.full(len(entropies), 1 / max(len(entropies), 1)))
        if whole is None:
            return FindingResult(
                finding, setting, name, untested_reason=f"no result of a {control} target to compare with"
            )
        contrasts.append(whole)
        for column, asked in enumerate(entropies):
            one = {measure: values[:, column : column + 1] for measure, values in tables.items()}
            if (contrast := _contrast(label, one, np.ones(1))) is not None:
                by_entropy.append((asked, contrast))
    sampling = _sampling(rows, *controls.values())
    return FindingResult(finding, setting, name, tuple(contrasts), tuple(by_entropy), sampling=sampling)


def _differences(
    minuend: Sequence[ResultRow], subtrahend: Sequence[ResultRow]
) -> tuple[dict[Measure, NDArray[np.float64]], list[float | None]]:
    """Return paired differences, (targets, entropies) for each measure, and the entropies with at least one pair."""
    both = [*minuend, *subtrahend]
    targets, entropies = targets_of(both), entropies_of(both)
    tables = {
        measure: table(minuend, measure, targets, entropies) - table(subtrahend, measure, targets, entropies)
        for measure in get_args(SplitMeasure)
    }
    paired = np.flatnonzero(~np.isnan(tables["kl"]).all(0)).tolist()
    return {measure: values[:, paired] for measure, values in tables.items()}, [entropies[place] for place in paired]


def _tested_contrast(
    name: str, tables: Mapping[Measure, NDArray[np.float64]], weights: NDArray[np.float64]
) -> Contrast | None:
    """Return `_contrast` with the median and the p-value over the targets with all results."""
    contrast = _contrast(name, tables, weights)
    if contrast is None:
        return None
    used = weights != 0
    by_target = tables["kl"][:, used] @ weights[used]
    by_target = by_target[~np.isnan(by_target)]
    median = float(np.median(by_target)) if len(by_target) else None
    return replace(contrast, median=median, p_value=sign_flip_p(by_target))


def _contrast(
    name: str, tables: Mapping[Measure, NDArray[np.float64]], weights: NDArray[np.float64]
) -> Contrast | None:
    """Compute the weighted sum of column means; None if a column has no divergence."""
    used = weights != 0
    kl, head_optimum, excess = (average(tables[measure][:, used], weights[used]) for measure in get_args(SplitMeasure))
    if kl is None:
        return None
    part, rest = (tables[measure][:, used] for measure in ("head_optimum", "excess"))
    return Contrast(name, kl, head_optimum, excess, ratio(part, part + rest, weights[used]))
