"""Names of the search methods, without imports: command line and app list them before pydantic is loaded.

Settings of each method: `config.search_specs`; implementation: `search.registry`.
"""

from __future__ import annotations

from typing import Literal, get_args

Method = Literal["soft", "hard", "gcg", "hotflip", "random", "exhaustive"]

METHODS: tuple[Method, ...] = get_args(Method)
