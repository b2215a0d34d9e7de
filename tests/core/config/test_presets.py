"""Shipped presets, error messages with file, line and field, overrides, saving."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprompt_tui.core.config import paths
from distprompt_tui.core.config.presets import (
    delete_preset,
    list_presets,
    load_preset,
    override,
    rename_preset,
    save_preset,
    update,
    with_method,
)
from distprompt_tui.core.config.search_specs import SOFT_LR, Soft
from distprompt_tui.core.config.spec import RunSpec
from distprompt_tui.core.config.target_specs import DEEPEST_MIXTURE, Uniform
from distprompt_tui.core.errors import DistPromptError, NotFoundError, UsageError
from distprompt_tui.runs.directory import create_run

GOOD = """\
title = "A coin"

[target]
family = "explicit"
probabilities = { " heads" = 0.5, " tails" = 0.5 }

[search]
method = "soft"
length = 4
"""


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_shipped_presets() -> None:
    shipped = [preset for preset in list_presets() if preset.shipped]
    names = {preset.name for preset in shipped}
    assert names >= {
        "outlier",
        "low-entropy",
        "mid-entropy",
        "high-entropy",
        "coin-flip",
        "die",
        "continuation",
    }
    for preset in shipped:
        assert preset.spec.preset == preset.name
        assert preset.spec.title
        assert preset.spec.description.endswith(".")


def test_preset_is_named_after_its_file(tmp_path: Path) -> None:
    preset = load_preset(write(tmp_path, GOOD))
    assert (preset.name, preset.shipped, preset.spec.search.length) == ("mine", False, 4)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (("length = 4", "lenght = 4"), r"mine\.toml:9: search\.lenght is not a field; did you mean 'length'"),
        (
            ("length = 4", "length = 0"),
            r"mine\.toml:9: search\.length: it should be greater than or equal to 1 \(given: 0",
        ),
        (("length = 4", 'length = "many"'), r"mine\.toml:9: search\.length: it should be a whole number, not 'many'"),
        (
            ('family = "explicit"', 'family = "explizit"'),
            r"mine\.toml:4: target\.family: unknown value 'explizit'; did you mean",
        ),
        (('family = "explicit"\n', ""), r"mine\.toml:3: target\.family is missing"),
        (
            ('method = "soft"', 'method = "sideways"'),
            r"mine\.toml:8: search\.method: unknown value 'sideways'; available: exhaustive, gcg, hard, hotflip, rand",
        ),
        (("[search]", "[serch]"), r"mine\.toml:7: serch is not a field; did you mean 'search'"),
        (('" heads" = 0.5', '" heads" = -0.5'), r"mine\.toml:5: target\.probabilities\. heads: it should be greater"),
        (('title = "A coin"', "title = A coin"), r"mine\.toml: not TOML: .*line 1"),
        (("probabilities", "probability"), r"mine\.toml:\d: target"),
    ],
)
def test_error_has_file_line_and_field(tmp_path: Path, change: tuple[str, str], expected: str) -> None:
    with pytest.raises(UsageError, match=expected) as caught:
        load_preset(write(tmp_path, GOOD.replace(*change)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ('target = {family = "outlier", entropy = 3}', r"give either 'tokens' \(the outliers\) or 'count'"),
        ('target = {family = "outlier", entropy = 3, count = 1, tokens = [" a"]}', "give either 'tokens'"),
        ('target = {family = "explicit"}', "give either 'probabilities' or a 'file'"),
        ('target = {family = "explicit", file = "x.csv", probabilities = {" a" = 1}}', "give either 'probabilities'"),
        ('target = {family = "zipf"}', "give either an 'exponent' or an 'entropy'"),
        ('target = {family = "zipf", exponent = 1, entropy = 1}', "give either an 'exponent'"),
        ('target = {family = "uniform"}\nsearch = {init = "text"}', "init = 'text' and 'init_text' require each"),
        ('target = {family = "uniform"}\nsearch = {init_prompt = "x"}', "init = 'prompt' and 'init_prompt' .* require"),
        ('target = {family = "uniform"}\nsearch = {method = "hard", init_text = "x"}', "and 'init_text' require each"),
    ],
)
def test_mutually_exclusive_fields_are_rejected(fields: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=complaint):
        load_preset(write(tmp_path, fields))


def test_unknown_name_lists_near_matches() -> None:
    with pytest.raises(NotFoundError, match="did you mean 'outlier'"):
        load_preset("outlyer")
    with pytest.raises(NotFoundError, match=r"no preset file nowhere/at\.toml"):
        load_preset("nowhere/at.toml")


def test_invalid_preset_files(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not UTF-8"):
        load_preset(str(path))
    path.write_bytes(b"#" * (1 << 21))
    with pytest.raises(UsageError, match="larger than"):
        load_preset(str(path))


def test_override() -> None:
    spec = load_preset("outlier").spec
    changed = override(
        spec, ["search.lr=0.2", "budget.steps=7", "model.name=some/model", "seed=5", 'target.tokens=[" a"]']
    )
    assert changed.search.lr == 0.2  # type: ignore[union-attr]
    adam = override(spec, ["search.optimizer=adam"])
    assert (spec.search.lr, adam.search.lr) == (SOFT_LR["ggt"], SOFT_LR["adam"])  # type: ignore[union-attr]
    assert (changed.budget.steps, changed.model.name, changed.seed) == (7, "some/model", 5)
    assert changed.target.tokens == (" a",)  # type: ignore[union-attr]
    assert override(spec, []) == spec
    assert override(spec, ["title=1\nmodel.name=2"]).title == "1\nmodel.name=2"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("search.lr", "does not have the form field=value"),
        ("search.lrr=1", "search.lrr is not a field; did you mean 'lr'"),
        ("search.lr=fast", "search.lr: it should be a number, not 'fast'"),
        ("search.lr=0.1\nsearch.length=5", r"search.lr: it should be a number, not '0.1\\nsearch.length=5'"),
        ("seed.x=1", "seed is a value"),
        ("target.entropy=-1", "target.entropy: it should be greater than or equal to 0"),
    ],
)
def test_invalid_override_is_rejected(change: str, expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        override(load_preset("outlier").spec, [change])


def test_with_method_keeps_the_length() -> None:
    spec = load_preset("outlier").spec
    hard = with_method(override(spec, ["search.length=6", "search.lr=3"]), "hard")
    assert (hard.search.method, hard.search.length) == ("hard", 6)
    assert with_method(spec, "soft") is spec
    assert with_method(spec, "exhaustive").search.length == 1  # longer prompts are not searched exhaustively


def test_saved_preset_round_trips(home: Path) -> None:
    for preset in list_presets():
        changed = override(with_method(preset.spec, "hard"), ["search.width=9", "budget.steps=77"])
        path = save_preset("saved-by-test", changed)
        assert path.parent == paths.user_presets_dir()
        again = load_preset("saved-by-test").spec
        assert again == changed.model_copy(update={"preset": "saved-by-test"})
        path.unlink()


@given(st.text(max_size=70))
def test_preset_name_cannot_escape_its_folder(name: str) -> None:
    spec = RunSpec.model_validate({"target": {"family": "uniform"}})
    try:
        path = save_preset(name, spec)
    except UsageError:
        return
    assert path.parent == paths.user_presets_dir()
    path.unlink()


@given(st.text(max_size=200))
def test_arbitrary_text_gives_a_one_line_error(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.toml"
    path.write_text(text, encoding="utf-8", errors="replace")
    with pytest.raises(DistPromptError) as caught:
        load_preset(str(path))
    assert "\n" not in str(caught.value)


def test_excessive_values_are_rejected(tmp_path: Path) -> None:
    """Numbers above the largest tensor size, invalid or long regular expressions, deeply nested mixtures."""
    path = tmp_path / "mine.toml"
    target = '{family = "uniform"}'
    for _ in range(DEEPEST_MIXTURE):
        target = f'{{family = "mixture", parts = [{{weight = 1, target = {target}}}]}}'
    path.write_text(f"target = {target}")
    assert load_preset(str(path)).spec.target.family == "mixture"
    for text, complaint in [
        (f'target = {{family = "mixture", parts = [{{weight = 1, target = {target}}}]}}', "at most 8 deep"),
        ('target = {family = "uniform"}\nsearch = {method = "hard", width = 3000000000}', "less than or equal to"),
        (
            'target = {family = "uniform"}\nsearch = {method = "hard", allow_regex = "a{99999999999}"}',
            "invalid regular",
        ),
        (f'target = {{family = "uniform"}}\nsearch = {{method = "hard", allow_regex = "{"(" * 900}"}}', "invalid reg"),
        (
            f'target = {{family = "uniform"}}\nsearch = {{method = "hard", allow_regex = "{"a" * 1001}"}}',
            "at most 1000",
        ),
        (f"seed = {'9' * 5000}", "not TOML"),
        (f"seed = {'[' * 5000}", "nested too deeply"),
    ]:
        path.write_text(text)
        with pytest.raises(UsageError, match=complaint):
            load_preset(str(path))


def test_removed_fields_are_ignored_in_runs_and_rejected_in_presets(tmp_path: Path) -> None:
    hard = RunSpec.model_validate({"target": {"family": "uniform"}, "search": {"method": "hard", "width": 16}})
    run = create_run(hard, tmp_path)
    gone = run.spec_file.read_text().replace("width = 16", "width = 16\ntop_k = 256\nmerge = 8\npairs = 12")
    assert "top_k" in gone
    run.spec_file.write_text(gone)
    assert run.read_spec() == hard
    (tmp_path / "preset.toml").write_text(gone)
    with pytest.raises(UsageError, match="top_k is not a field"):
        load_preset(str(tmp_path / "preset.toml"))
    run.spec_file.write_text(gone.replace("top_k", "top_n"))
    with pytest.raises(UsageError, match=r"spec.toml:\d+: search.top_n is not a field"):
        run.read_spec()


def test_update_with_typed_values() -> None:
    spec = RunSpec(target=Uniform())
    changed = update(spec, {"search.optimizer": "adam", "seed": 3, "model.name": "2024", "title": "true"})
    assert (changed.search, changed.seed) == (Soft(optimizer="adam"), 3)
    assert (changed.model.name, changed.title) == ("2024", "true")
    for changes, complaint in (
        ({"seed": "3"}, "seed"),
        ({"search.lrr": 1}, "did you mean 'lr'"),
        ({"seed.a": 1}, "seed"),
    ):
        with pytest.raises(UsageError, match=complaint):
            update(spec, changes)


def test_presets_of_the_user_are_renamed_and_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path))
    save_preset("mine", RunSpec(title="mine", target=Uniform()))
    assert rename_preset("mine", "ours").name == "ours.toml"
    assert load_preset("ours").spec.title == "ours"
    write(tmp_path / "presets", "# by hand\n" + GOOD)
    assert rename_preset("mine", "ours").read_text(encoding="utf-8").startswith("# by hand")
    with pytest.raises(UsageError, match="invalid preset name"):
        rename_preset("ours", "../ours")
    delete_preset("ours")
    with pytest.raises(NotFoundError):
        load_preset("ours")
    with pytest.raises(FileNotFoundError):
        delete_preset("ours")


def test_preset_that_replaces_a_shipped_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTPROMPT_HOME", str(tmp_path))
    save_preset("outlier", RunSpec(target=Uniform()))
    save_preset("mine", RunSpec(target=Uniform()))
    found = {preset.name: preset for preset in list_presets()}
    assert [found[name].replaces_shipped for name in ("outlier", "mine", "die")] == [True, False, False]
    assert not found["outlier"].shipped
    delete_preset("outlier")
    restored = {preset.name: preset for preset in list_presets()}["outlier"]
    assert restored.shipped
    assert not restored.replaces_shipped
