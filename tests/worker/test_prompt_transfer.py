"""A found prompt under other conditions, against plain transformers in float64."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

from distprompt_tui.core.errors import NotFoundError
from distprompt_tui.models.prepare import ignore_progress
from distprompt_tui.models.vocabulary import load_vocabulary
from distprompt_tui.runs.directory import RunDirectory, create_run
from distprompt_tui.targets.transfer import transfer
from distprompt_tui.worker.prompt_transfer import TransferResult, chat_context, transfer_prompt
from tests.cli.test_commands import distprompt
from tests.finished_runs import plain_kl
from tests.models.test_context import searched
from tests.tiny_models import TOKENS
from tests.tiny_runs import tiny_spec
from tests.tiny_tokenizers import with_tokenizer

CHAT = "{% for m in messages %}<|end|>{{ m['role'] }}: {{ m['content'] | trim }}{% endfor %} yes:"


@pytest.fixture(scope="module")
def chatting(tiny_folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model with a chat template."""
    folder = with_tokenizer(tiny_folders["llama"], tmp_path_factory.mktemp("chat") / "llama", {})
    (folder / "chat_template.jinja").write_text(CHAT)
    return folder


@pytest.fixture(scope="module")
def hard(chatting: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return searched(chatting, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def soft(chatting: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return searched(chatting, tmp_path_factory.mktemp("runs"), search={"method": "soft", "length": 3})


def kls(run: RunDirectory, *others: Path, dtypes: Any = ("float32",)) -> dict[tuple[str, str, str], TransferResult]:
    """Return the results by model's folder, dtype and context."""
    _, results = transfer_prompt(run, [str(other) for other in others], dtypes, ignore_progress)
    return {(Path(one.model).name, one.dtype, one.context): one for one in results}


def ids_of(run: RunDirectory) -> list[int]:
    ids: list[int] = json.loads((run.best / "prompt.json").read_text())["ids"]
    return ids


def test_the_runs_own_model_gives_the_reported_divergence(hard: RunDirectory, soft: RunDirectory) -> None:
    for run, carrier in ((hard, "ids"), (soft, "vectors")):
        reported = json.loads(run.result.read_text())["kl"]
        found = kls(run, dtypes=("float32", "bfloat16"))
        exact, rounded = (found["llama", dtype, "as searched"] for dtype in ("float32", "bfloat16"))
        assert exact.carrier == rounded.carrier == carrier
        assert exact.kl == pytest.approx(reported, abs=1e-5)
        assert rounded.kl == pytest.approx(reported, abs=0.2)
        assert rounded.kl != exact.kl


def test_within_a_chat_template(hard: RunDirectory, chatting: Path) -> None:
    found = kls(hard)["llama", "float32", "chat"]
    assert chat_context(chatting) == ("<|end|>user: ", " yes:")
    tokenizer = AutoTokenizer.from_pretrained(chatting)
    before, after = (tokenizer(text, add_special_tokens=False).input_ids for text in ("<|end|>user: ", " yes:"))
    whole = torch.tensor([*before, *ids_of(hard), *after])
    assert before[0] == 0
    assert found.kl == pytest.approx(plain_kl(chatting, np.load(hard.target), input_ids=whole), abs=1e-5)


def test_without_a_usable_template_there_is_no_chat(tiny_folders: dict[str, Path], chatting: Path) -> None:
    assert chat_context(tiny_folders["gpt2"]) is None
    template = chatting / "chat_template.jinja"
    for broken in ("{{ raise_exception('no') }}", "no content", "{% if"):
        template.write_text(broken)
        assert chat_context(chatting) is None
    template.write_text(CHAT)


def test_a_model_with_the_same_tokens_gets_the_ids(hard: RunDirectory, tiny_folders: dict[str, Path]) -> None:
    """Its head has more rows, which have no token."""
    found = kls(hard, tiny_folders["qwen2"])["qwen2", "float32", "as searched"]
    expected = plain_kl(tiny_folders["qwen2"], np.load(hard.target), input_ids=torch.tensor(ids_of(hard)))
    assert (found.carrier, found.note) == ("ids", "")
    assert found.kl == pytest.approx(expected, abs=1e-5)


def test_a_model_with_another_tokenizer_gets_text_and_moved_target(
    hard: RunDirectory, tiny_folders: dict[str, Path], chatting: Path
) -> None:
    found = kls(hard, tiny_folders["gemma3"])["gemma3", "float32", "as searched"]
    source, destination = load_vocabulary(chatting, TOKENS), load_vocabulary(tiny_folders["gemma3"], TOKENS)
    moved = transfer(np.load(hard.target), source, destination)
    ids = destination.encode(source.decode(ids_of(hard)))
    expected = plain_kl(tiny_folders["gemma3"], moved.probabilities, input_ids=torch.tensor(ids))
    assert found.carrier == "text"
    assert found.kl == pytest.approx(expected, abs=1e-5)
    assert f"{moved.matched:.3f} matched" in found.note


def test_vectors_need_the_same_width(soft: RunDirectory, chatting: Path, tmp_path: Path) -> None:
    narrow = with_tokenizer(chatting, tmp_path / "narrow", {})
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=TOKENS, max_position_embeddings=64, bos_token_id=0, eos_token_id=0, **sizes)
    AutoModelForCausalLM.from_config(config).save_pretrained(narrow)
    found = kls(soft, narrow)["narrow", "float32", "as searched"]
    assert (found.kl, found.carrier) == (None, None)
    assert found.note.startswith("the vectors have width 32")


def test_a_run_without_a_result(chatting: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no result yet"):
        transfer_prompt(create_run(tiny_spec(chatting), tmp_path), [], ("float32",), ignore_progress)


def test_the_command(hard: RunDirectory, tiny_folders: dict[str, Path]) -> None:
    arguments = ("runs", "transfer", str(hard.path), "--to", str(tiny_folders["qwen2"]), "--dtype", "float32")
    result = distprompt(*arguments, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["kl"] == json.loads(hard.result.read_text())["kl"]
    assert [(Path(one["model"]).name, one["context"]) for one in found["transfers"]] == [
        ("llama", "as searched"), ("llama", "chat"), ("qwen2", "as searched"),
    ]  # fmt: skip
    assert found["transfers"][0]["kl"] == pytest.approx(found["kl"], abs=1e-5)
    table = distprompt(*arguments).stdout.splitlines()
    assert table[0].startswith("KL ")
    assert len(table) == 2 + 3
    missing = distprompt(*arguments, "--to", "no such model")
    assert missing.returncode == 3
    assert missing.stdout == ""
