"""Readers of each kind of input, with checks for arbitrary input.

Readers may raise only the program's own errors, in one line, and must not output invisible characters.
"""

from __future__ import annotations

import csv
import io
import json
import math
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.cells import cell_len
from rich.console import Console

from distprompt_tui.cli.report_console import print_findings, print_sweep_report
from distprompt_tui.cli.tables import print_presets, token_table
from distprompt_tui.core.config.presets import load_preset, override, save_preset, with_method
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Explicit
from distprompt_tui.core.errors import DistPromptError
from distprompt_tui.core.storage.jsonl import append_line
from distprompt_tui.core.storage.npy import read_target
from distprompt_tui.core.storage.prompt_files import read_prompt
from distprompt_tui.core.storage.safe_io import read_json
from distprompt_tui.core.text.escapes import escape_field, unescape
from distprompt_tui.core.text.formatting import Line
from distprompt_tui.core.text.terminal_text import fit, fit_to, sanitize, visible_token
from distprompt_tui.models.checkpoint_checks import check_folder, head_rows
from distprompt_tui.models.registry import find_model
from distprompt_tui.models.vocabulary import Vocabulary, load_vocabulary
from distprompt_tui.reports.sweep_page import sweep_page
from distprompt_tui.reports.sweep_report import SweepReport, report_sweep
from distprompt_tui.runs import schema
from distprompt_tui.runs.compare import spec_differences
from distprompt_tui.runs.directory import RunDirectory
from distprompt_tui.runs.event_reader import EventLogReader
from distprompt_tui.runs.events import EventWriter, Tailer, decode_object
from distprompt_tui.runs.export import export_run
from distprompt_tui.runs.reducer import reduce_all, state_at
from distprompt_tui.runs.schema import decode_event
from distprompt_tui.runs.state import RunState
from distprompt_tui.runs.summary import as_dict, matching_runs, read_spec_fields, sorted_runs, summarise, title_of
from distprompt_tui.sweeps.catalog import load_sweep
from distprompt_tui.sweeps.curves import panels
from distprompt_tui.sweeps.directory import SweepDirectory
from distprompt_tui.targets.explicit import explicit
from distprompt_tui.tui.drawing.plot import Curve, plot_curves
from distprompt_tui.tui.drawing.styled_text import plain_text, width_of
from distprompt_tui.tui.run.bar_scale import BarScale
from distprompt_tui.tui.run.configuration import ConfigurationData, configuration_lines, settings_of
from distprompt_tui.tui.run.density_picture import GUTTER, largest_place, picture_size
from distprompt_tui.tui.run.density_view import DensityView, density_lines, layout
from distprompt_tui.tui.run.device_graph import DeviceData, device_lines
from distprompt_tui.tui.run.display_state import DisplayState
from distprompt_tui.tui.run.divergence_plot import PlotData, references, series
from distprompt_tui.tui.run.gauges import GaugeData, compact_line, gauge_lines, split_lines
from distprompt_tui.tui.run.headline import HeadlineData, headline
from distprompt_tui.tui.run.monitor import RunView
from distprompt_tui.tui.run.plot_zoom import tail_range
from distprompt_tui.tui.run.prompt_view import PromptData, prompt_lines, prompt_title
from distprompt_tui.tui.run.rank_view import RankView, rank_lines
from distprompt_tui.tui.run.run_numbers import numbers_of
from distprompt_tui.tui.run.status import StatusData, notice_lines, status_line
from distprompt_tui.tui.run.token_rows import columns_for, row_lines
from distprompt_tui.tui.run.token_table import TableQuery, from_snapshot
from distprompt_tui.tui.runs.run_rows import layout_for, run_line
from distprompt_tui.tui.settings import read_settings
from distprompt_tui.worker.control import Control
from tests.fuzz.inputs import OUTCOMES, SMALL_SWEEP, edited

WIDTH, HEIGHT = 100, 30
"""Size of drawn lines; other sizes use the same functions."""

INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}

VOCABULARY_SIZE = 7


def assert_visible(text: str) -> None:
    """Check that a text has no invisible characters and none that control a terminal."""
    if text.isprintable():  # the fast path: these categories are not printable
        return
    for char in text:
        assert unicodedata.category(char) not in INVISIBLE, f"{char!r} in {text!r}"


def assert_error(error: DistPromptError) -> None:
    """Check an error of the program: its message is one line on the command line, with an exit code."""
    assert str(error)
    assert_visible(sanitize(str(error)))
    assert error.exit_code in (1, 2, 3)


def assert_drawn(lines: Iterable[Line]) -> None:
    """Check that lines of widgets are visible and not too wide."""
    for line in lines:
        assert_visible(plain_text(line))
        assert width_of(line) <= WIDTH, plain_text(line)


def invalid(read: Callable[[], Any]) -> Any:
    """Return the result of a reader, or None if it raises an error of the program."""
    try:
        return read()
    except DistPromptError as error:
        assert_error(error)
        return None


def preset(data: bytes, folder: Path) -> None:
    """A preset file: validated, listed, changed, saved and read again."""
    path = folder / "mine.toml"
    path.write_bytes(data)
    found = invalid(lambda: load_preset(str(path)))
    if found is None:
        return
    spec = found.spec
    if not (spec.description + spec.target.family).isprintable():
        console = Console(file=io.StringIO(), width=WIDTH)
        print_presets(console, [found])
        for line in console.file.getvalue().splitlines():  # type: ignore[attr-defined]
            assert_visible(line)
    assert RunSpec.model_validate(spec.model_dump(mode="json", exclude_none=True)) == spec
    invalid(lambda: override(spec, ["seed=7", "search.length=3"]))
    invalid(lambda: with_method(spec, "gcg"))
    saved = save_preset("again", spec)
    again = load_preset(str(saved)).spec
    saved.unlink()  # other tests list the presets
    assert again.model_copy(update={"preset": spec.preset}) == spec


def run_spec(data: bytes, folder: Path) -> None:
    """A run's spec: read strictly by its worker, and tolerantly in lists."""
    run = RunDirectory(folder)
    run.spec_file.write_bytes(data)
    found = invalid(run.read_spec)
    fields = read_spec_fields(run.spec_file)
    title = title_of(fields, "r")
    assert_drawn([status_line(StatusData(RunView(title)), WIDTH)])
    assert_drawn(configuration_lines(ConfigurationData(settings_of(fields)), WIDTH))
    spec_differences([fields, {"seed": 1}])
    if found is not None:
        assert title_of(found.model_dump(mode="json"), "r") == title_of(found.model_dump(), "r")


def settings(data: bytes, folder: Path) -> None:
    """The app's settings."""
    path = folder / "settings.toml"
    path.write_bytes(data)
    found = invalid(lambda: read_settings(path))
    assert found is None or 0 < found.updates_per_second < 100


def events(data: bytes, folder: Path) -> None:
    """A run's events: followed, listed, replayed, drawn and exported."""
    run = RunDirectory(folder)
    run.events.write_bytes(data)
    recording = EventLogReader(run.events)
    state = reduce_all(recording.read())
    assert reduce_all(Tailer(run.events, decode_event).read()).phase == state.phase
    for place in recording.places[-2:]:
        if (snapshot := recording.snapshot(place)) is not None:
            _draw(state_at(state, snapshot))
    _draw(state)
    if len(data) % 16 == 0:  # ten times slower than the rest
        _plot(state)
    summary = summarise(run)
    assert_drawn([run_line(summary, layout_for(WIDTH), here=True, number=1, now=2e9)])
    assert json.dumps(as_dict(summary), allow_nan=False).isascii()
    assert sorted_runs([summary, summary], "excess")
    matching_runs([summary], "a b")
    if state.result is not None:
        json.dumps(state.result, allow_nan=False)
    next_number = EventWriter(folder / "events.jsonl")
    next_number.write(schema.Warning(text="one more"))
    latest = Tailer(run.events, decode_object).read()[-1]
    assert latest["text"] == "one more"
    next_number.close()


def _draw(state: RunState) -> None:
    view = RunView(state=state)
    for health in ("alive", "silent", "crashed", "ended"):
        status = StatusData(RunView(view.title, state, health, 20, ("\x1b[2J",)))  # type: ignore[arg-type]
        assert_drawn([status_line(status, WIDTH), *notice_lines(status, WIDTH)])
        numbers = numbers_of(DisplayState(state), status.view)
        assert_drawn([headline(HeadlineData(numbers), WIDTH), *split_lines(numbers, WIDTH)])
        for log in (True, False):
            gauge = GaugeData(numbers, log)
            assert_drawn([compact_line(gauge, WIDTH), *gauge_lines(gauge, WIDTH)])
    assert_drawn(device_lines(DeviceData(state.curve, state.device), WIDTH, 10))
    for warning in state.warnings:
        assert_visible(sanitize(warning))
    if state.snapshot is None:
        return
    prompt = PromptData(state.method, state.snapshot.prompt, projection=state.projection)
    for data in (prompt, replace(prompt, vocab_size=state.vocab_size, surprising=True)):
        assert_visible(prompt_title(data))
        assert_drawn(prompt_lines(data, WIDTH, flowing=False)[0])
        assert_drawn(prompt_lines(data, WIDTH, flowing=True)[0])
    table = from_snapshot(state.snapshot, TableQuery())
    for log in (False, True):
        scale = BarScale(table.largest, table.breaks_at, log)
        for index in range(len(table)):
            assert_drawn(row_lines(table.row(index), columns_for(WIDTH), scale, marked=False, ascii_only=False))
    if (known := table.distribution) is not None:
        sizes = layout(WIDTH, HEIGHT)
        assert sizes is not None
        density = DensityView.summarise(known, picture_size(sizes.picture_width, sizes.picture_height))
        assert_drawn(density_lines(density, largest_place(density.density), WIDTH, HEIGHT, ascii_only=False))
        assert_drawn(rank_lines(RankView.summarise(known, WIDTH - GUTTER - 1), 0, WIDTH, HEIGHT, ascii_only=False))
    if not all(token.text.isprintable() for token in state.snapshot.tokens):
        console = Console(file=io.StringIO(), width=WIDTH)
        console.print(token_table(state.snapshot.tokens, state.snapshot.kl, 80))
        for line in console.file.getvalue().splitlines():  # type: ignore[attr-defined]
            assert_visible(line)


def _plot(state: RunState) -> None:
    data = PlotData(state.curve, state.readings, {}, state.bounds, state.best_kl, state.best_step)
    for log in (True, False):
        assert_drawn(plot_curves([Curve(series(data, "kl"))], references(data, "kl"), [], WIDTH, 8, log=log))
        tail = tail_range(series(data, "kl"), state.bounds.head_optimum, log=log)
        assert_drawn(plot_curves([Curve(series(data, "kl"))], [], [], WIDTH, 8, log=log, upright=tail))
        assert_drawn(plot_curves([Curve(series(data, "reverse_kl"))], [], [], WIDTH, 8, log=log))


def latest(data: bytes, folder: Path) -> None:
    """Events of a long run in a separate file."""
    run = RunDirectory(folder)
    run.events.write_bytes(edited("events", 1, []))
    run.latest.write_bytes(data)
    _draw(reduce_all(EventLogReader(run.events).read()))
    run.latest.unlink()


def sweep(data: bytes, folder: Path) -> None:
    """A sweep's file: validated, with and without quick overrides, written and read again."""
    path = folder / "grid.toml"
    path.write_bytes(data)
    found = invalid(lambda: load_sweep(str(path)))
    if found is None:
        return
    assert_visible(found.folder_name)
    invalid(lambda: found.with_models(["smollm2"]))
    for one in (found, found.with_quick_overrides()):
        path.write_text(one.resolved())
        assert load_sweep(str(path)).folder_name == one.folder_name


def rows(data: bytes, folder: Path) -> None:
    """A sweep's rows: in tables, findings, printed reports and pages."""
    directory = SweepDirectory(folder)
    directory.sweep_file.write_text(SMALL_SWEEP.resolved())
    for file in (directory.rows_file, directory.failures_file, directory.tasks_file):
        file.write_bytes(data)
    report = report_sweep(directory)
    directory.write_table()
    console = Console(file=io.StringIO(), width=WIDTH)
    print_findings(console, report)
    if len(data) % 64 == 0:  # a hundred times slower than the rest
        print_sweep_report(console, report)
        sweep_page(report, directory.read_result)
    for line in console.file.getvalue().splitlines():  # type: ignore[attr-defined]
        assert_visible(line)


@cache
def _small_report() -> SweepReport:
    """Report of a small sweep; its intervals take much longer than a page."""
    rows = tuple(outcome.row for outcome in OUTCOMES if outcome.row is not None)
    return SweepReport("small", SMALL_SWEEP, len(rows), rows, (), tuple(panels(rows)), ())


def sweep_result(data: bytes, folder: Path) -> None:
    """Result of a search in a sweep: on its page."""
    directory = SweepDirectory(folder)
    directory.results.mkdir(exist_ok=True)
    (directory.results / f"{_small_report().rows[0].key}.json").write_bytes(data)
    sweep_page(_small_report(), directory.read_result)


def control(data: bytes, folder: Path) -> None:
    """Requests of viewers to a worker: each valid line has one answer."""
    run = RunDirectory(folder)
    run.control.write_bytes(b"")
    run.events.write_bytes(b"")
    writer = EventWriter(run.events)
    reader = Control(run, writer, lambda request: {"outcome": "done"})
    run.control.write_bytes(data)
    stopping = reader.asked_to_stop()
    answers = Tailer(run.events, decode_object).read()
    asked = Tailer(run.control, decode_object).read()
    assert len(answers) == len(asked)
    assert stopping == any(request.get("command") == "stop" for request in asked)
    assert all(len(run.events.read_bytes()) < 4096 * (1 + len(asked)) for _ in answers)
    writer.close()


def prompt_json(data: bytes, folder: Path) -> None:
    """Token ids from a file."""
    _prompt(data, folder / "prompt.json")


def prompt_safetensors(data: bytes, folder: Path) -> None:
    """Vectors from a file."""
    _prompt(data, folder / "prompt.safetensors")


def _prompt(data: bytes, path: Path) -> None:
    path.write_bytes(data)
    found = invalid(lambda: read_prompt(path))
    if isinstance(found, list):
        assert all(0 <= token < 2**31 for token in found)
    elif found is not None:
        assert found.ndim == 2
        assert np.isfinite(found).all()


def target_json(data: bytes, folder: Path) -> None:
    """Probabilities as JSON."""
    _target(data, folder / "target.json")


def target_csv(data: bytes, folder: Path) -> None:
    """Probabilities as CSV."""
    _target(data, folder / "target.csv")


def target_npy(data: bytes, folder: Path) -> None:
    """A whole distribution, as a target file and as a run's target."""
    path = _target(data, folder / "target.npy")
    row = invalid(lambda: read_target(path))
    assert row is None or (np.isfinite(row).all() and (row >= 0).all())


def _target(data: bytes, path: Path) -> Path:
    path.write_bytes(data)
    made = invalid(lambda: explicit(Explicit(file=str(path)), _vocabulary(), None))
    if made is not None:
        assert math.isclose(made.probabilities.sum(), 1, rel_tol=1e-9)
        assert (made.probabilities >= 0).all()
        assert_visible(sanitize(made.recipe))
    return path


def result_json(data: bytes, folder: Path) -> None:
    """A run's result, exported with the other files of the run."""
    run = RunDirectory(folder)
    run.best.mkdir(exist_ok=True)
    run.result.write_bytes(data)
    run.spec_file.write_text('[target]\nfamily = "uniform"\n')
    append_to(run.events, {"type": "step", "step": 3, "kl": "=cmd()"})
    (run.best / "prompt.json").write_text('{"ids": [1, 2]}')
    invalid(lambda: read_json(run.result))
    exported = invalid(lambda: export_run(run, "json", folder / "out.json"))
    if exported is not None:
        assert json.loads(exported.read_text())["prompt"] == {"ids": [1, 2]}
    table = export_run(run, "csv", folder / "out.csv").read_text()
    assert all("=" not in cell for row in csv.reader(io.StringIO(table)) for cell in row)


def append_to(path: Path, value: dict[str, Any]) -> None:
    """A one-line file."""
    with path.open("wb") as file:
        append_line(file.fileno(), value)


def config_json(data: bytes, folder: Path) -> None:
    """A model folder's config."""
    _model(folder, "config.json", data)


def index_json(data: bytes, folder: Path) -> None:
    """A model folder's list of weight files."""
    _model(folder, "model.safetensors.index.json", data)


def _model(folder: Path, name: str, data: bytes) -> None:
    for needed in ("config.json", "model-1.safetensors", "tokenizer.json"):
        (folder / needed).write_text('{"vocab_size": 7}')
    (folder / "model.safetensors.index.json").unlink(missing_ok=True)
    (folder / name).write_bytes(data)
    invalid(lambda: check_folder(folder))
    rows = invalid(lambda: head_rows(folder))
    assert rows is None or 0 < rows < 1 << 25
    entry = invalid(lambda: find_model(str(folder)))
    assert entry is None or entry.vocab_size == rows


def tokenizer_json(data: bytes, folder: Path) -> None:
    """A tokenizer: every token can be displayed, and found by its id."""
    (folder / "tokenizer.json").write_bytes(data)
    found = invalid(lambda: load_vocabulary(folder, VOCABULARY_SIZE))
    if found is None:
        return
    for token in range(VOCABULARY_SIZE):
        token_string(found.text(token))
    invalid(lambda: found.id_of("a b"))
    invalid(lambda: found.id_of("id:3"))


def token_string(text: str) -> None:
    """A token's string: visible, and of exactly the requested width."""
    for ascii_only in (False, True):
        shown = visible_token(text, ascii_only=ascii_only)
        assert_visible(shown)
        assert " " not in shown
        for width in (0, 1, 2, 7, 40):
            assert cell_len(fit(shown, width)) == width
            assert cell_len(fit_to(shown, width)) <= width
    assert_visible(sanitize(text))
    if not any("\ud800" <= char <= "\udfff" for char in text):
        assert unescape(escape_field(text)) == text


_known: dict[str, Vocabulary] = {}


def _vocabulary() -> Vocabulary:
    """Vocabulary of the seed tokenizer."""
    from tokenizers import Tokenizer

    from tests.fuzz.inputs import SEEDS

    if "seed" not in _known:
        text = json.dumps(SEEDS["tokenizer.json"][0])
        _known["seed"] = Vocabulary(Tokenizer.from_str(text), VOCABULARY_SIZE)
    return _known["seed"]


READERS: dict[str, Callable[[bytes, Path], None]] = {
    "preset": preset,
    "spec": run_spec,
    "settings": settings,
    "events": events,
    "newest": latest,
    "sweep": sweep,
    "rows": rows,
    "sweep result": sweep_result,
    "control": control,
    "prompt.json": prompt_json,
    "prompt.safetensors": prompt_safetensors,
    "target.json": target_json,
    "target.csv": target_csv,
    "target.npy": target_npy,
    "result.json": result_json,
    "config.json": config_json,
    "index.json": index_json,
    "tokenizer.json": tokenizer_json,
}
"""Readers by the kinds of `inputs.SEEDS`; each is called with the input and a folder."""
