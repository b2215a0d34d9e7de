"""The panels of a run's screen, which can be hidden or zoomed."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Container, Vertical

from distprompt_tui.runs.state import RunState
from distprompt_tui.tui.run.display_state import DisplayState
from distprompt_tui.tui.run.divergence_plot import DivergencePlot, PlotData
from distprompt_tui.tui.run.gauges import EntropyData, EntropyGauge, ExcessData, ExcessGauge
from distprompt_tui.tui.run.prompt_view import PromptData, PromptView
from distprompt_tui.tui.run.token_panel import TokensPanel

PANELS = ("plot", "gauges", "prompt", "tokens")


class RunPanels(Container):
    def __init__(self) -> None:
        super().__init__(id="body")
        self.plot = DivergencePlot(id="plot", classes="panel")
        self.prompt = PromptView(id="prompt", classes="panel")
        self.tokens = TokensPanel(id="tokens", classes="panel")
        self._entropy = EntropyGauge(EntropyData(), id="entropy", classes="panel")
        self._excess = ExcessGauge(ExcessData(), id="excess", classes="panel")

    def compose(self) -> ComposeResult:
        with Vertical(id="side"):
            yield self.plot
            with Vertical(id="gauges"):
                yield self._entropy
                yield self._excess
            yield self.prompt
        yield self.tokens

    def show(
        self, display: DisplayState, run: RunState, method: str, uniform_kl: dict[str, float], *, is_last_step: bool
    ) -> None:
        """Draw a state. The tokens panel is updated separately.

        Args:
            run: source of the curve.
            uniform_kl: uniform baseline by metric, nats.
            is_last_step: whether the numbers belong to the last step, not to the best prompt.
        """
        state, snapshot, is_text = display.state, display.state.snapshot, display.comparison_label == "text"
        if run.uniform_kl is not None:
            uniform_kl = uniform_kl | {"kl": run.uniform_kl}
        self.plot.show(
            PlotData(run.curve, run.readings, uniform_kl, run.bounds, run.best_kl, run.best_step, display.cursor_step)
        )
        label = "last step" if is_last_step else display.comparison_label
        self._entropy.show(EntropyData(state.entropy_target, state.entropy, state.vocab_size, label))
        self._excess.show(ExcessData.of(state, "text" if is_text else "best", last_step=is_last_step))
        if snapshot is not None:
            self.prompt.show(
                PromptData(
                    "hard" if is_text else state.method or method,
                    snapshot.prompt,
                    influence=display.influence,
                    projection=state.projection,
                    vocab_size=state.vocab_size,
                )
            )

    def toggle_panel(self, name: str) -> None:
        """Show or hide a panel, except the last one."""
        hidden = {other: self.query_one(f"#{other}").has_class("-hidden") for other in PANELS}
        if hidden[name] or list(hidden.values()).count(False) > 1:
            self.query_one(f"#{name}").toggle_class("-hidden")
            hidden[name] = not hidden[name]
            self.query_one("#side").set_class(all(hidden[other] for other in PANELS[:-1]), "-hidden")

    def toggle_zoom(self) -> None:
        zoom = not self.screen.has_class("-zoomed")
        focused = [name for name in PANELS if self.query_one(f"#{name}").has_focus_within]
        chosen = focused[0] if focused else "tokens"
        for name in (*PANELS, "side"):
            kept = name == chosen or (name == "side" and chosen != "tokens")
            self.query_one(f"#{name}").set_class(zoom and kept, "-kept").set_class(zoom and not kept, "-unzoomed")
        self.screen.set_class(zoom, "-zoomed")

    def reset(self) -> None:
        if self.screen.has_class("-zoomed"):
            self.toggle_zoom()
        for name in (*PANELS, "side"):
            self.query_one(f"#{name}").remove_class("-hidden")
