"""Options of the command line as fields of a spec."""

from __future__ import annotations

import pytest

from distprompt_tui.cli.options import Options
from distprompt_tui.core.config.search_specs import Hard
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Uniform
from distprompt_tui.core.errors import UsageError


def test_chains_are_a_setting_of_the_hard_search() -> None:
    spec = RunSpec(target=Uniform())
    assert Options(method="hard", chains=3).apply(spec).search == Hard(chains=3)
    assert Options(method="hard", chains=3, changes=["search.chains=auto"]).apply(spec).search == Hard()
    with pytest.raises(UsageError, match=r"search\.chains"):
        Options(chains=3).apply(spec)
    with pytest.raises(UsageError, match=r"search\.chains: it should be greater"):
        Options(method="hard", chains=0).apply(spec)
