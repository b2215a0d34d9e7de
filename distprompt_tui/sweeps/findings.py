"""Tests the paper's three findings on the rows of a sweep: effects in nats with intervals, and outcomes.

An effect is a difference of mean divergences; a positive effect supports the finding. If a finding claims that
something is harder (or easier) than two others, both differences must be above zero, each at 95 %. An
intersection-union test needs no correction for two tests. The smaller difference decides.

- `entropy`: moderate entropy is harder than very low and very high entropy. All entropies of the grid between its
  lowest and its highest are moderate, with equal weights. The choice precedes the results, so no peak is picked out of
  noise. The mean over them is lower than the peak, so the effect can only understate the curve.
- `outliers`: at equal entropy, vanilla minus outlier, paired by entropy and target.
- `lm-targets`: `shuffled` and `vanilla` minus `lm`, paired by entropy and target.

Each difference is also computed for the head optimum and for the excess above it. The two add up to the whole, so the
head optimum's share is the effect of the output layer alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from distprompt_tui.sweeps.bootstrap import FEWEST_TARGETS, MeanCI, Outcome, average
from distprompt_tui.sweeps.pivot import Measure, entropies_of, group_by_config, table, targets_of
from distprompt_tui.sweeps.results import ResultRow, SearchConfig
from distprompt_tui.sweeps.sweep_spec import Finding

SplitMeasure = Literal["kl", "head_optimum", "excess"]

HYPOTHESES: dict[Finding, str] = {
    "entropy": "moderate entropy is harder than very low and very high entropy",
    "outliers": "at equal entropy, targets with outliers are easier",
    "lm-targets": "at equal entropy, a language model's targets are easier than shuffled and random ones",
}


@dataclass(frozen=True)
class Contrast:
    """A difference of means in nats; `head_optimum` and `excess`, of the same searches, are None if unknown."""

    name: str
    kl: MeanCI
    head_optimum: MeanCI | None = None
    excess: MeanCI | None = None

    @property
    def share(self) -> float | None:
        """The head optimum's share of the difference; None if the difference is inconclusive."""
        if self.head_optimum is None or self.excess is None or self.kl.outcome == "inconclusive":
            return None
        return self.head_optimum.value / (self.head_optimum.value + self.excess.value)


@dataclass(frozen=True)
class FindingResult:
    """A finding on one setting and series.

    Attributes:
        contrasts: must all be above zero; empty if the finding could not be tested.
        by_entropy: the differences at each entropy, if they are paired by entropy.
        missing: number of unfinished searches of the setting.
    """

    finding: Finding
    setting: SearchConfig
    series: str
    contrasts: tuple[Contrast, ...] = ()
    by_entropy: tuple[tuple[float | None, Contrast], ...] = ()
    untested_reason: str = ""
    missing: int = 0

    @property
    def binding_contrast(self) -> Contrast | None:
        return min(self.contrasts, key=lambda contrast: contrast.kl.value, default=None)

    @property
    def outcome(self) -> Outcome | Literal["not tested"]:
        effect = self.effect("kl")
        return "not tested" if effect is None else effect.outcome

    @property
    def word(self) -> str:
        """The outcome, marked as preliminary if searches are missing."""
        return f"{self.outcome} so far" if self.missing and self.contrasts else self.outcome

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
    def caveat(self) -> str:
        """A warning about the interval; empty if there is none."""
        effect = self.effect("kl")
        if effect is None or effect.targets >= FEWEST_TARGETS:
            return ""
        if effect.low is None:
            return "a single target gives no interval"
        return f"an interval from {effect.targets} targets is too narrow; 95 % needs at least {FEWEST_TARGETS}"


def as_dict(result: FindingResult) -> dict[str, Any]:
    effects = {measure: result.effect(measure) for measure in get_args(SplitMeasure)}
    return {
        "finding": result.finding,
        **result.setting._asdict(),
        "series": result.series,
        "outcome": result.outcome,
        "missing": result.missing,
        **{name: None if effect is None else asdict(effect) for name, effect in effects.items()},
        "output_layer_share": None if result.binding_contrast is None else result.binding_contrast.share,
        "contrasts": [asdict(contrast) for contrast in result.contrasts],
        "by_entropy": [{"entropy": asked, **asdict(contrast)} for asked, contrast in result.by_entropy],
        "note": result.untested_reason or result.caveat,
    }


def evaluate_finding(
    rows: Sequence[ResultRow], finding: Finding, sources: Mapping[str, str | None]
) -> list[FindingResult]:
    """Test a finding on each model, method, length and matching series.

    `sources` gives, for each `lm` and `shuffled` series, the model that makes its targets; None for the searched model.
    """
    test = {"entropy": _entropy, "outliers": _outliers, "lm-targets": _lm_targets}[finding]
    return [
        result for setting, series in group_by_config(rows).items() for result in test(setting, series, dict(sources))
    ]


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
            _contrast(f"moderate − {end}", tables, moderate - at)
            for end, at in zip(("lowest", "highest"), ends, strict=True)
        ]
        yield FindingResult("entropy", setting, name, tuple(contrast for contrast in contrasts if contrast is not None))


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
        whole = _contrast(label, tables, np.full(len(entropies), 1 / max(len(entropies), 1)))
        if whole is None:
            return FindingResult(
                finding, setting, name, untested_reason=f"no result of a {control} target to compare with"
            )
        contrasts.append(whole)
        for column, asked in enumerate(entropies):
            one = {measure: values[:, column : column + 1] for measure, values in tables.items()}
            if (contrast := _contrast(label, one, np.ones(1))) is not None:
                by_entropy.append((asked, contrast))
    return FindingResult(finding, setting, name, tuple(contrasts), tuple(by_entropy))


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


def _contrast(
    name: str, tables: Mapping[Measure, NDArray[np.float64]], weights: NDArray[np.float64]
) -> Contrast | None:
    """Compute the weighted sum of column means; None if a column has no divergence."""
    used = weights != 0
    kl, head_optimum, excess = (average(tables[measure][:, used], weights[used]) for measure in get_args(SplitMeasure))
    return None if kl is None else Contrast(name, kl, head_optimum, excess)
