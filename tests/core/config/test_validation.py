"""Values of the wrong type, values of `--set`, encodings of text files, model names and paths."""

from __future__ import annotations

import io
import math
import os
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from distprompt_tui.cli import app
from distprompt_tui.cli.tables import print_target
from distprompt_tui.core.config.known_models import KNOWN, absolute_name
from distprompt_tui.core.config.presets import list_presets, load_preset, override
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import Explicit, Mixture, OneHot, Uniform
from distprompt_tui.core.config.toml_files import read_toml
from distprompt_tui.core.config.validation import all_mistakes, checked
from distprompt_tui.core.errors import NotFoundError, UsageError
from distprompt_tui.core.storage.safe_io import read_json
from distprompt_tui.core.text.formatting import nats
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.registry import find_model, list_models
from distprompt_tui.sweeps.catalog import load_sweep
from distprompt_tui.sweeps.sweep_spec import Sweep
from distprompt_tui.targets import build_target

LM: dict[str, Any] = {"target": {"family": "lm", "text": "x"}}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("search.length", "10"),
        ("search.length", 10.0),
        ("search.length", True),
        ("search.lr", "0.2"),
        ("search.lr", True),
        ("seed", True),
        ("seed", 1.0),
        ("title", 3),
        ("budget.steps", "10"),
        ("budget.seconds", False),
        ("model.name", 3),
        ("target.text", ["x"]),
        ("target.entropy", "3"),
    ],
)
def test_value_of_wrong_type_is_rejected_with_its_field(field: str, value: Any) -> None:
    fields: dict[str, Any] = {"target": dict(LM["target"])}
    *tables, name = field.split(".")
    table = fields
    for part in tables:
        table = table.setdefault(part, {})
    table[name] = value
    with pytest.raises(UsageError, match=field.replace(".", r"\.")):
        checked(fields, RunSpec)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("context.bos='yes'", "context.bos: it should be \"auto\", true or false (given: 'yes')"),
        ("context.bos=1", 'context.bos: it should be "auto", true or false (given: 1)'),
        ('target={family="outlier",entropy=3.0,tokens=[1.5]}', "target.tokens.0: it should be a valid string"),
    ],
)
def test_error_of_a_field_with_several_types_names_the_field(change: str, message: str) -> None:
    with pytest.raises(UsageError) as told:
        override(checked(LM, RunSpec), [change])
    assert str(told.value).startswith(message)


@pytest.mark.parametrize(
    "change",
    [
        "title=\udcff",
        "preset=a\udcff",
        "context.prefix=\udcff",
        "model.name=/\ud800",
        "target.text=\udcff",
        'target={family="outlier",entropy=3.0,tokens=["\udcff"]}',
        'target={family="explicit",probabilities={"\udcff"=0.5}}',
    ],
)
def test_text_that_is_not_unicode_is_rejected(change: str) -> None:
    """Bytes of a command line that are not UTF-8 arrive as unpaired surrogates, which a run cannot write."""
    with pytest.raises(UsageError, match=r"(?i)unicode") as told:
        override(checked(LM, RunSpec), [change])
    assert "\n" not in str(told.value)
    assert str(told.value).encode()


def test_strict_types_of_targets_and_sweeps_accept_integers_as_floats() -> None:
    for target in (
        {"family": "one_hot", "token": True},
        {"family": "one_hot", "token": 1.0},
        {"family": "explicit", "probabilities": {" yes": True}},
        {"family": "outlier", "entropy": 3, "tokens": [1.5]},
    ):
        with pytest.raises(UsageError):
            checked({"target": target}, RunSpec)
    series = [{"name": "a", "target": {"family": "vanilla"}}]
    for wrong in ({"lengths": [True]}, {"lengths": ["10"]}, {"entropies": [True]}, {"seeds": [0.0]}, {"batch": "4"}):
        with pytest.raises(UsageError):
            checked({"name": "x", "series": series} | wrong, Sweep)
    assert checked({"name": "x", "series": series, "entropies": [3], "lengths": [1, 2]}, Sweep).entropies == (3.0,)
    spec = checked({"target": {"family": "outlier", "entropy": 3, "tokens": [5, " yes"]}, "search": {"lr": 1}}, RunSpec)
    assert isinstance(spec.search.lr, float)  # type: ignore[union-attr]
    assert checked(spec.model_dump(mode="json", exclude_none=True), RunSpec) == spec


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=20))
def test_text_field_accepts_any_text_that_is_not_a_toml_string(text: str) -> None:
    spec = checked(LM, RunSpec)
    found = override(spec, [f"target.text={text}"]).target.text  # type: ignore[union-attr]
    try:
        value = tomllib.loads(f"value = {text}")
    except ValueError:
        value = {}
    written = value.get("value") if len(value) == 1 else None
    assert found == (written if isinstance(written, str) and written else text)


def test_set_parses_a_value_by_the_type_of_the_field() -> None:
    spec = checked(LM, RunSpec)
    for text in ("2024", "1.5", "true", "1979-05-27", "inf", "0x10", "Yes", "it's", "a=b", "[x", "x # y"):
        assert override(spec, [f"target.text={text}"]).target.text == text  # type: ignore[union-attr]
    assert override(spec, ["target.text='Yes'"]).target.text == "Yes"  # type: ignore[union-attr]
    assert override(spec, ["target.text=\"'Yes'\""]).target.text == "'Yes'"  # type: ignore[union-attr]
    assert override(spec, ["model.revision=123456"]).model.revision == "123456"
    assert override(spec, ["budget.steps=5"]).budget.steps == 5
    with pytest.raises(UsageError, match=r"budget\.steps: it should be a whole number, not 1\.5"):
        override(spec, ["budget.steps=1.5"])


MARKED = {"BOM": b"\xef\xbb\xbf%s", "plain": b"%s"}


def test_text_files_may_have_a_byte_order_mark_and_crlf(tmp_path: Path) -> None:
    for form in MARKED.values():
        (tmp_path / "a.toml").write_bytes(form % b'title = "x"\r\n[target]\r\nfamily = "uniform"\r\n')
        assert load_preset(str(tmp_path / "a.toml")).spec.title == "x"
        (tmp_path / "a.json").write_bytes(form % b'{"x": 1}\r\n')
        assert read_json(tmp_path / "a.json") == {"x": 1}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252"])
def test_wrong_encoding_is_reported_with_the_file(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes('title = "café"\n[target]\nfamily = "uniform"\n'.encode(encoding))
    with pytest.raises(UsageError, match=r"a\.toml.*(UTF-8|TOML)") as told:
        read_toml(path)
    assert len(str(told.value).splitlines()) == 1


def test_paths_in_a_spec_are_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_folders: dict[str, Path]
) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "llama").symlink_to(tiny_folders["llama"])
    (tmp_path / "sub").mkdir()
    (tmp_path / "d.json").write_text('{"id:1": 1.0}')
    (tmp_path / "p.toml").write_text(
        '[target]\nfamily = "mixture"\n[[target.parts]]\nweight = 1\ntarget = {family = "explicit", file = "d.json"}\n'
        '[[target.parts]]\nweight = 1\ntarget = {family = "lm", text = "x", model = "m/llama"}\n'
        '[model]\nname = "m/llama"\n[search]\ninit = "prompt"\ninit_prompt = "sub/../found"\n'
    )
    monkeypatch.chdir(tmp_path / "sub")
    spec = load_preset("../p.toml").spec
    assert isinstance(spec.target, Mixture)
    assert isinstance(spec.target.parts[0].target, Explicit)
    assert spec.target.parts[0].target.file == str(tmp_path / "d.json")
    assert spec.target.parts[1].target.model == str(tmp_path / "m" / "llama")  # type: ignore[union-attr]
    assert spec.model.name == str(tmp_path / "m" / "llama")
    assert spec.search.init_prompt == str(tmp_path / "found")  # type: ignore[union-attr]
    given = override(spec, ["model.name=../m/llama"])
    assert given.model.name == str(tmp_path / "m" / "llama")
    assert find_model(given.model.name).status == "prepared"
    for name in ("smollm2", "owner/model", "gpt99"):
        assert absolute_name(name, Path()) == name
    assert absolute_name("none.gguf", Path()) == str(tmp_path / "sub" / "none.gguf")
    assert absolute_name("~/m", Path("/x")) == str(Path("~/m").expanduser())


def test_paths_in_a_sweep_are_relative_to_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_folders: dict[str, Path]
) -> None:
    (tmp_path / "llama").symlink_to(tiny_folders["llama"])
    (tmp_path / "s.toml").write_text(
        'name = "s"\nmodels = ["llama", "smollm2"]\n[[series]]\nname = "a"\nmodels = ["llama"]\n'
        'target = {family = "explicit", file = "d.json"}\n'
    )
    monkeypatch.chdir("/")
    sweep = load_sweep(str(tmp_path / "s.toml"))
    assert sweep.models == (str(tmp_path / "llama"), "smollm2")
    assert sweep.series[0].models == (str(tmp_path / "llama"),)
    assert sweep.series[0].target["file"] == str(tmp_path / "d.json")


@pytest.mark.parametrize(
    "name",
    ["a b/c", "a/../b", "a:b/c", "-a/b", "a\\b/c", f"a/{'b' * 97}", "größe/x", "a/b/c", "", " ", "a--b/c", "a/b.git"],
)
def test_invalid_hub_name_is_rejected(name: str) -> None:
    with pytest.raises(NotFoundError, match="no model"):
        find_model(name)
    assert find_model("Owner-1/model_2.b").status == "hub"


def test_unknown_model_lists_available_models() -> None:
    with pytest.raises(NotFoundError, match=r"available: gemma3-270m, gemma3-270m-hub, smollm2, .*\. A hub name"):
        find_model("xyzzy")


def test_invalid_file_is_reported_and_does_not_affect_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path))
    presets = tmp_path / "presets"
    presets.mkdir()
    (presets / "good.toml").write_text('[target]\nfamily = "uniform"\n')
    (presets / "broken.toml").write_text("[")
    (presets / "dangling.toml").symlink_to("nowhere")
    (presets / "folder.toml").mkdir()
    (presets / "outdated.toml").write_text('[target]\nfamily = "uniform"\nmass = 3\n')
    os.mkfifo(presets / "pipe.toml")
    problems: list[str] = []
    assert "good" in [preset.name for preset in list_presets(problems)]
    assert len(problems) == 5
    for name in ("broken", "dangling", "folder", "outdated", "pipe"):
        assert sum(f"{name}.toml" in problem for problem in problems) == 1
    damaged = tmp_path / "models" / "abc"
    damaged.mkdir(parents=True)
    (damaged / "source.json").write_text("{}")
    problems.clear()
    assert [model.name for model in list_models(problems)] == [known.name for known in KNOWN]
    assert "abc is damaged" in problems[0]
    assert find_model("smollm2").name == "smollm2"


def test_all_errors_of_a_file_have_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('seeed = 1\n[target]\nfamily = "vanilla"\nentropie = 3\n[search]\nlength = "4"\nstep = 3\n')
    found = all_mistakes(path, RunSpec)
    assert len(found) == 5
    for line, word in ((1, "seeed is not a field; did you mean 'seed'"), (4, "entropie"), (6, "search.length")):
        assert any(f"p.toml:{line}: " in mistake and word in mistake for mistake in found), found
    path.write_text('[target]\nfamilly = "vanilla"\nentropy = 3\n')
    assert all_mistakes(path, RunSpec)[0].endswith("target.family is missing; is 'familly' a misspelling of it?")


def test_presets_check_reports_impossible_targets(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    for target, why in (
        (
            'family = "explicit"\nmasses = {" yes" = 0.7, " no" = 0.5}',
            "target.probabilities: they sum to 1.2, more than 1",
        ),
        ('family = "vanilla"\nentropy = 25', "target.entropy: 25 nats are more than 10.803"),
        ('family = "vanilla"\nentropy = "25"\nseed = 1.5', "target.seed"),
    ):
        path.write_text(f"[target]\n{target}\n")
        result = CliRunner().invoke(app, ["presets", "check", str(path)])
        assert (result.exit_code, result.stdout) == (2, "")
        assert why in result.stderr
    assert len(result.stderr.splitlines()) == 2
    path.write_text('[target]\nfamily = "vanilla"\nentropy = 3\n')
    assert CliRunner().invoke(app, ["presets", "check", str(path)]).exit_code == 0


def test_zero_is_printed_without_a_sign(tiny_models: dict[str, LanguageModel]) -> None:
    assert nats(-0.0) == "0.000"
    for vocabulary in (model.vocabulary for model in tiny_models.values()):
        whole = build_target(Uniform(), vocabulary)
        assert whole.uniform_kl(vocabulary) == 0
        one = build_target(OneHot(token=5), vocabulary)
        assert one.uniform_kl(vocabulary) == pytest.approx(math.log(vocabulary.allowed.sum()))
        console = Console(file=io.StringIO(), width=80)
        for target in (whole, one):
            print_target(console, target, vocabulary)
