"""Measurements of a machine as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from distprompt_tui.core.text.formatting import size


def bench_lines(bench: dict[str, Any]) -> Iterator[str]:
    """Yield the lines for the fields of a `worker.bench.Bench`."""
    yield f"device        {bench['device']} ({bench['device_name']}), {bench['dtype']}, torch {bench['torch']}"
    yield f"matrix peak   {bench['matrix_flops'] / 1e12:.3g} TFLOP/s"
    for model in bench["models"]:
        yield ""
        yield f"{model['model']}, {size(model['weight_bytes'])} of weights, {size(model['peak_bytes'])} at the peak"
        yield (
            f"  candidates  {model['candidates_per_second']:,.4g}/s, {model['positions_per_second']:,.4g} positions/s, "
            f"{model['peak_share']:.1%} of the matrix peak (width {model['width']})"
        )
        for name, title in (("soft", "soft"), ("soft_batched", "soft × 16"), ("hard", "hard")):
            yield f"  {title:11} {_pace(model[name])}"
    for name, why in bench["left_out"].items():
        yield ""
        yield f"{name} left out: {why}"


def _pace(pace: dict[str, Any]) -> str:
    waits = pace["waits_per_step"]
    calls = f"{pace['launches_per_step']:,.0f} {'operators' if waits is None else 'launches'}"
    after = "" if waits is None else f", {waits:.2g} waits"
    speed = f"{pace['steps_per_second']:,.3g} steps/s, {pace['positions_per_second']:,.4g} positions/s"
    return f"{speed}; a step: {calls}{after}"
