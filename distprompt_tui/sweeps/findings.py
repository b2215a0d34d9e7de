"""The paper's three findings, tested on a sweep's rows: effects in nats with intervals, and whether they hold.

An effect is a difference of mean divergences; above zero it speaks for the finding. Where a finding says that
something is harder (or easier) than two others, both differences must be above zero, each at 95 %: that needs no
correction for there being two (an intersection-union test). What decides is the smaller one.

- `entropy`: moderate entropy is harder than very low and very high. Moderate are all entropies of the grid between
  its lowest and its highest, with equal weights: chosen before the results are there, so that no peak is picked out of
  noise. The mean over them is lower than the peak, so the effect says less than the curve shows, never more.
- `outliers`: at equal entropy, vanilla minus outlier, paired by entropy and target.
- `lm-targets`: `shuffled` and `vanilla` minus a language model's, paired by entropy and target.

Each difference is also taken for the head optimum alone and for the excess above it. The two add up to the whole, so
the head optimum's share is what the output layer alone makes of the finding.
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
    """A difference of mean divergences, whole and split; nats.

    Attributes:
        name: "moderate − lowest".
        kl: of the divergences.
        head_optimum: of the head optima alone; None where the model has none.
        excess: of the excess above them, on the same searches.
    """

    name: str
    kl: MeanCI
    head_optimum: MeanCI | None = None
    excess: MeanCI | None = None

    @property
    def share(self) -> float | None:
        """The head optimum's part of the difference; None where there is no difference to divide."""
        if self.head_optimum is None or self.excess is None or self.kl.outcome == "inconclusive":
            return None
        return self.head_optimum.value / (self.head_optimum.value + self.excess.value)


@dataclass(frozen=True)
class FindingResult:
    """A finding on one setting and series.

    Attributes:
        contrasts: all must be above zero; none where it could not be tested.
        by_entropy: the differences at each entropy, where they are taken at equal entropy.
        why_not: the reason why it could not be tested.
        missing: searches of the setting that have not ended yet.
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
        """The smallest difference."""
        return min(self.contrasts, key=lambda contrast: contrast.kl.value, default=None)

    @property
    def outcome(self) -> Outcome | Literal["not tested"]:
        """The word on the finding."""
        effect = self.effect("kl")
        return "not tested" if effect is None else effect.outcome

    @property
    def word(self) -> str:
        """The outcome, and that it is not the last word where it is not."""
        return f"{self.outcome} so far" if self.missing and self.contrasts else self.outcome

    def effect(self, measure: SplitMeasure) -> MeanCI | None:
        """The smallest of the differences, its interval made of the smaller ends: above zero only if all are."""
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
        """What must be known of the interval; empty where nothing is."""
        effect = self.effect("kl")
        if effect is None or effect.targets >= FEWEST_TARGETS:
            return ""
        if effect.low is None:
            return "one target alone gives no interval"
        return f"an interval from {effect.targets} targets is too narrow; {FEWEST_TARGETS} or more make it a 95 % one"


def as_dict(result: FindingResult) -> dict[str, Any]:
    """A result in plain values that fit into JSON, as `sweep --json` prints it."""
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
    """A result for each model, method, length and series that the finding is about.

    Args:
        rows: of a whole sweep.
        finding: which of the three.
        sources: for each `lm` and `shuffled` series the model that makes its targets, None for the searched one.
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
            untested_reason = f"three entropies are needed, results are there for {len(entropies)}"
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
    """The result on whether `rows` are easier than each of the controls."""
    contrasts: list[Contrast] = []
    by_entropy: list[tuple[float | None, Contrast]] = []
    for control, others in controls.items():
        tables, entropies = _differences(others, rows)
        label = f"{control} − {name}"
        whole = _contrast(label, tables, np.full(len(entropies), 1 / max(len(entropies), 1)))
        if whole is None:
            return FindingResult(
                finding, setting, name, untested_reason=f"no {control} target has a result to compare with"
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
    """Differences of pairs, (targets, entropies) for each measure, at the entropies that have one; and those."""
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
    """The weighted sum of the columns' means; None where the divergences do not give it."""
    used = weights != 0
    kl, head_optimum, excess = (average(tables[measure][:, used], weights[used]) for measure in get_args(SplitMeasure))
    return None if kl is None else Contrast(name, kl, head_optimum, excess)
