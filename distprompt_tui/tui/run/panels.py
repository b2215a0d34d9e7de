"""The panels of a run's screen, which can be hidden or zoomed."""

from __future__ import annotations

from typing import Literal

from textual import events
from textual.app import ComposeResult
from textual.containers import Container, Horizontal, Vertical
from textual.geometry import Size

from distprompt_tui.tui.run.configuration import Configuration, ConfigurationData
from distprompt_tui.tui.run.device_graph import DeviceData, DeviceGraph
from distprompt_tui.tui.run.display_state import DisplayState
from distprompt_tui.tui.run.divergence_plot import DivergencePlot, PlotData
from distprompt_tui.tui.run.gauges import GaugeData, Gauges
from distprompt_tui.tui.run.monitor import RunView
from distprompt_tui.tui.run.plot_zoom import PlotZoom
from distprompt_tui.tui.run.prompt_view import PromptData, PromptView
from distprompt_tui.tui.run.run_numbers import RunNumbers, latest_subject
from distprompt_tui.tui.run.token_panel import TokensPanel

PANELS = ("plot", "gauges", "details", "prompt", "tokens")

DETAILS_FROM = Size(160, 45)  # size of the terminal from which configuration and device are shown


class RunPanels(Container):
    def __init__(self) -> None:
        super().__init__(id="body")
        self.plot = DivergencePlot(id="plot", classes="panel")
        self.prompt = PromptView(id="prompt", classes="panel")
        self.tokens = TokensPanel(id="tokens", classes="panel")
        self._gauges = Gauges(id="gauges", classes="panel")
        self._configuration = Configuration(id="configuration", classes="panel")
        self._device = DeviceGraph(id="device", classes="panel")

    def compose(self) -> ComposeResult:
        with Vertical(id="side"):
            yield self.plot
            yield self._gauges
            with Horizontal(id="details"):
                yield self._configuration
                yield self._device
            yield self.prompt
        yield self.tokens

    def on_resize(self, event: events.Resize) -> None:
        width, height = self.screen.size
        self.set_class(width >= DETAILS_FROM.width and height >= DETAILS_FROM.height, "-roomy")

    def show(self, display: DisplayState, view: RunView, uniform_kl: dict[str, float], numbers: RunNumbers) -> None:
        """Draw a state. The tokens panel is updated separately.

        Args:
            view: source of the curve.
            uniform_kl: uniform baseline by metric, nats.
            numbers: of the displayed prompt and the best one.
        """
        run, state, snapshot = view.state, display.state, display.state.snapshot
        if run.uniform_kl is not None:
            uniform_kl = uniform_kl | {"kl": run.uniform_kl}
        best = run.best_kl, run.best_step
        latest = latest_subject(run, view)
        self.plot.show(
            PlotData(
                run.curve,
                run.readings,
                uniform_kl,
                run.bounds,
                *best,
                display.cursor_step,
                latest,
                witness=run.witness,
                length=run.length,
            )
        )
        self._gauges.show(GaugeData(numbers, self.plot.log_scale))
        self._configuration.show(ConfigurationData(view.settings, run.device, run.dtype))
        self._device.show(DeviceData(run.curve, run.device))
        if snapshot is not None:
            self.prompt.show(
                PromptData(
                    "hard" if numbers.subject == "text" else state.method or view.title.method,
                    snapshot.prompt,
                    influence=display.influence,
                    projection=state.projection,
                    vocab_size=state.vocab_size,
                )
            )

    def toggle_panel(self, name: str) -> None:
        """Show or hide a panel, except the last one."""
        is_roomy = self.has_class("-roomy")
        if name == "details" and not is_roomy:
            self.notify(f"Configuration and device need {DETAILS_FROM.width} x {DETAILS_FROM.height}.")
            return
        hidden = {other: self.query_one(f"#{other}").has_class("-hidden") for other in PANELS}
        hidden["details"] |= not is_roomy
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

    def zoom_plot(self, axis: Literal["steps", "values"]) -> None:
        zoom = self.plot.zoom
        self.plot.set_zoom(zoom.next_fraction() if axis == "steps" else zoom.toggle_tail())

    def reset(self) -> None:
        self.plot.set_zoom(PlotZoom())
        if self.screen.has_class("-zoomed"):
            self.toggle_zoom()
        for name in (*PANELS, "side"):
            self.query_one(f"#{name}").remove_class("-hidden")
