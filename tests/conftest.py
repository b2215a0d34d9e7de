"""What tests share: a home of their own, tiny random models of several architectures, and the two real models."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Before torch is imported anywhere: idle threads must not spin, tests run beside worker processes on few cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ["OMP_NUM_THREADS"] = "1"  # of several test processes, each has a core
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch
from hypothesis import HealthCheck, settings

from distprompt_tui.core.config import paths
from distprompt_tui.models.head import Head
from distprompt_tui.models.language_model import LanguageModel
from distprompt_tui.models.prepare import prepare_by_name
from distprompt_tui.models.vocabulary import Vocabulary, load_vocabulary
from distprompt_tui.models.wrap import load_language_model
from tests import fake_device
from tests.tiny_models import ARCHITECTURES, write_tiny_model

# The cores are shared, so a slow example says nothing. The suite tries the same examples every time: a failure is of
# the change at hand. New ones are looked for with `pytest --hypothesis-profile=explore`, and many with `fuzz`.
settings.register_profile("suite", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000, print_blob=True)
settings.register_profile(
    "fuzz", deadline=None, max_examples=100_000, database=None, suppress_health_check=list(HealthCheck), print_blob=True
)
settings.load_profile("suite")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Load the fake device before the first backward pass: autograd counts the devices once."""
    if any(item.path.parent.name == "devices" for item in session.items):
        with suppress(fake_device.BuildError):  # the tests skip, with the reason
            fake_device.load()


@pytest.fixture(scope="session", autouse=True)
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An empty `DISTPROMPT_HOME` for the whole session. Converted models are the user's: made once a machine."""
    folder = tmp_path_factory.mktemp("home")
    models = paths.models_dir()
    models.mkdir(parents=True, exist_ok=True)
    (folder / "models").symlink_to(models)
    previous = os.environ.get("DISTPROMPT_HOME")
    os.environ["DISTPROMPT_HOME"] = str(folder)
    yield folder
    if previous is None:
        del os.environ["DISTPROMPT_HOME"]
    else:
        os.environ["DISTPROMPT_HOME"] = previous


@pytest.fixture(scope="session")
def tiny_folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of tiny random models with trained tokenizers, by architecture."""
    root = tmp_path_factory.mktemp("tiny")
    return {name: write_tiny_model(name, root / name) for name in ARCHITECTURES}


@pytest.fixture(scope="session")
def tiny_models(tiny_folders: dict[str, Path]) -> dict[str, LanguageModel]:
    """The tiny models, loaded, by architecture."""
    return {name: load_language_model(name, folder, "cpu") for name, folder in tiny_folders.items()}


@pytest.fixture(params=ARCHITECTURES)
def tiny_model(request: pytest.FixtureRequest, tiny_models: dict[str, LanguageModel]) -> LanguageModel:
    """Each tiny model in turn."""
    return tiny_models[request.param]


@pytest.fixture(scope="session")
def smollm2_folder() -> Path:
    """SmolLM2-135M-Instruct, converted."""
    return prepare_by_name("smollm2", lambda text, fraction: None)


@pytest.fixture(scope="session")
def smollm2(smollm2_folder: Path) -> LanguageModel:
    """SmolLM2-135M-Instruct on the CPU in float32."""
    return load_language_model("smollm2", smollm2_folder, "cpu", "float32")


@pytest.fixture(scope="session")
def smollm2_head(smollm2: LanguageModel) -> Head:
    """Its output layer."""
    return smollm2.head


@pytest.fixture(scope="session")
def smollm2_vocabulary(smollm2_folder: Path) -> Vocabulary:
    """Its tokens."""
    return load_vocabulary(smollm2_folder, 49_152)


@pytest.fixture(scope="session")
def gemma_folder() -> Path:
    """Gemma 3 270M, converted."""
    return prepare_by_name("gemma3-270m", lambda text, fraction: None)


@pytest.fixture(scope="session")
def gemma_vocabulary(gemma_folder: Path) -> Vocabulary:
    """Its tokens."""
    return load_vocabulary(gemma_folder, 262_144)


@pytest.fixture
def generator() -> torch.Generator:
    """Randomness that is the same in every run."""
    return torch.Generator().manual_seed(0)
