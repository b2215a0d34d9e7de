"""Widths of the hard search by device."""

from __future__ import annotations

import pytest

from distprompt_tui.core.config.device_widths import BY_DEVICE, DEFAULT, Widths, widths_for
from distprompt_tui.core.config.presets import override
from distprompt_tui.core.config.search_specs import Hard
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.spec_base import LEGACY_CONTEXT
from distprompt_tui.core.config.target_specs import Uniform
from distprompt_tui.core.errors import UsageError
from distprompt_tui.runs.estimates import memory_bytes


@pytest.mark.parametrize("device", ["cpu", "xpu", "fake"])
@pytest.mark.parametrize("parameters", [1_000, 10**9, 10**12])
def test_a_cpu_and_unknown_devices_have_the_default(device: str, parameters: int) -> None:
    assert widths_for(device, parameters) == DEFAULT == Widths(24, 1)


@pytest.mark.parametrize("device", BY_DEVICE)
def test_larger_models_have_fewer_candidates(device: str) -> None:
    sizes = [10**power for power in range(6, 13)]
    candidates = [found.width * found.chains for found in (widths_for(device, size) for size in sizes)]
    assert candidates == sorted(candidates, reverse=True)
    assert candidates[0] > DEFAULT.width


def test_given_values_replace_those_of_the_device() -> None:
    by_device = widths_for("cuda", 10**9)
    assert widths_for("cuda", 10**9, width=7) == Widths(7, by_device.chains)
    assert widths_for("cuda", 10**9, chains=2) == Widths(by_device.width, 2)
    assert widths_for("cpu", 10**9, 7, 2) == Widths(7, 2)


def test_the_estimate_of_memory_counts_the_candidates_of_all_chains() -> None:
    def memory(search: Hard, device: str) -> int:
        return memory_bytes(RunSpec(target=Uniform(), search=search), 10**8, 50_000, device)

    assert memory(Hard(), "cpu") == memory(Hard(width=24, chains=1), "cpu")
    found = widths_for("cuda", 10**8)
    assert memory(Hard(), "cuda:0") == memory(Hard(width=found.width, chains=found.chains), "cuda:0")
    one, three = (memory(Hard(width=24, chains=chains), "cpu") for chains in (1, 3))
    assert three - one == 2 * 24 * 50_000 * 4 * 2


def test_recorded_runs_without_chains_have_one() -> None:
    fields = {"target": {"family": "uniform"}, "search": {"method": "hard", "width": 24}}
    for context, chains in ((LEGACY_CONTEXT, 1), (None, "auto")):
        search = RunSpec.model_validate(fields, context=context).search
        assert isinstance(search, Hard)
        assert (search.width, search.chains) == (24, chains)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("search.width=1.5", "search.width: it should be a whole number"),
        ("search.width=0", "search.width: it should be greater than or equal to 1"),
        ("search.chains=many", "search.chains: it should be a whole number"),
        ("search.chains=257", "search.chains: it should be less than or equal to 256"),
    ],
)
def test_errors_name_the_field_alone(change: str, message: str) -> None:
    spec = RunSpec(target=Uniform(), search=Hard())
    both = override(spec, ["search.width=8", "search.chains=2"])
    assert override(both, ["search.width=auto"]).search == Hard(chains=2)
    with pytest.raises(UsageError, match=f"^{message}"):
        override(spec, [change])
