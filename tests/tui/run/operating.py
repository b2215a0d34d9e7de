"""What tests of the run's screen look at."""

from __future__ import annotations

from distprompt_tui.tui.app import DistPromptApp
from distprompt_tui.tui.run.screen import RunScreen
from distprompt_tui.tui.run.token_panel import TokenList


def bars(app: DistPromptApp) -> TokenList:
    return app.screen.query_one(TokenList)


def complete(app: DistPromptApp) -> bool:
    """Whether the run's screen shows the whole vocabulary."""
    return isinstance(app.screen, RunScreen) and bars(app).table.complete
