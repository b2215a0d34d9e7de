"""The witness in the plot and in the table of a sweep's screen."""

from __future__ import annotations

from distprompt_tui.sweeps.curves import panels
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.sweeps.sweep_plot import SweepPicture, SweepPlot, legend_lines
from distprompt_tui.tui.sweeps.sweep_points import point_lines
from tests.sweeps.factories import rows


def test_plot_bars_and_table_show_the_witness() -> None:
    made = rows(lambda entropy: entropy, (2.0, 6.0), 3, witness_kl=3.0)
    (panel,) = panels(made)
    plot = SweepPlot(SweepPicture(panel.curves, (2.0, 6.0)))
    drawn = "\n".join(plain_text(line) for line in plot.lines(90, 20))
    assert drawn.count("w") == 4  # two points, and the sign and the word in the legend
    assert "w witness of each" in drawn
    (single,) = panels([row for row in made if row.entropy_asked == 2.0])
    bars = SweepPlot(SweepPicture(single.curves, (2.0,))).lines(70, 20)
    assert "  witness 3.000" in plain_text(bars[0])
    assert max(map(width_of, bars)) <= 70
    header, *lines = map(plain_text, point_lines(panel.curves, 120))
    assert header.split()[-1] == "witness"
    assert all(line.split()[-1] == "3.000" for line in lines)


def test_without_a_witness_nothing_is_said() -> None:
    (panel,) = panels(rows(lambda entropy: entropy, (2.0, 6.0), 3))
    assert "witness" not in " ".join(map(plain_text, legend_lines(panel.curves, 90)))
    assert "witness" not in plain_text(point_lines(panel.curves, 120)[0])
