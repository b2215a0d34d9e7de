"""Names of the search methods, free of imports: command line and app list them before pydantic is loaded.

`config.spec` has the settings of each, `search.registry` its search.
"""

from __future__ import annotations

from typing import Literal, get_args

Method = Literal["soft", "hard", "gcg", "hotflip", "random", "exhaustive"]

METHODS: tuple[Method, ...] = get_args(Method)
