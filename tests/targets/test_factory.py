"""The registry of target families."""

from __future__ import annotations

from typing import get_args

from distprompt_tui.core.config import target_specs
from distprompt_tui.targets.factory import FROM_MODEL, FROM_VOCABULARY


def test_every_family_of_the_spec_has_a_function() -> None:
    union, *_ = get_args(target_specs.TargetSpec)
    assert {*FROM_VOCABULARY, *FROM_MODEL, target_specs.Explicit, target_specs.Mixture} == set(get_args(union))
