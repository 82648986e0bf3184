"""Small real models, and a project with prompts of its own and an empty cache."""

from __future__ import annotations

import importlib
import io
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.projects import prompt_file, write_gpt2, write_scaling_twin

DATA = """
from pathlib import Path

def pytest_refutable_data():
    return Path(__file__).parent / "data"
"""


LATE = (
    "refutable.studies.norm_ablation.figures",
    "refutable.training",
    "refutable.studies.no_position.circuits",
    "refutable.falsify",
)


@pytest.fixture(scope="session")
def _imported() -> None:
    # pytester forgets the modules that an inner run imported first, but torch and pyarrow cannot
    # be imported twice in a process.
    import pandas

    import refutable

    pandas.read_parquet(io.BytesIO(pandas.DataFrame({"value": [1.0]}).to_parquet()))
    for module in pkgutil.walk_packages(refutable.__path__[:1], "refutable."):
        if not module.name.startswith(LATE):
            importlib.import_module(module.name)
    # Classes of models look for their own file among the imported modules.
    for kind in ("gpt2", "llama"):
        importlib.import_module(f"transformers.models.{kind}.modeling_{kind}")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that tests read and never change."""
    folder = tmp_path_factory.mktemp("models")
    write_gpt2(folder / "little", scale=3.0)
    write_gpt2(folder / "other", seed=1, scale=2.0)
    write_gpt2(folder / "silent", scale=0.0)
    write_scaling_twin(folder / "halves", 0.5, bare=True)
    write_scaling_twin(folder / "doubles", 2.0)
    return folder


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    # Inner runs keep the order of their tests; test_other_plugins.py shuffles them on purpose.
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:randomly")
    return pytester


@pytest.fixture
def project(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, _imported: None
) -> pytest.Pytester:
    monkeypatch.setenv("REFUTABLE_CACHE", str(pytester.path / "cache"))
    # Reasons are looked for in lines that are not broken; test_terminal looks at narrow ones.
    monkeypatch.setenv("COLUMNS", "500")
    data = pytester.path / "data" / "prompts"
    data.mkdir(parents=True)
    (data / "mine.toml").write_text(prompt_file())
    pytester.makeconftest(DATA)
    pytester.makeini("[pytest]\nclaim_report = no\n")
    return pytester


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let runs of one process and of several add up in the same order: to the last bit."""
    import torch

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
