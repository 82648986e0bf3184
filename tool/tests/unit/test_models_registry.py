"""The registry of models, and what a name on the command line means."""

from __future__ import annotations

from pathlib import Path

import pytest

from refutable.errors import ModelError
from refutable.models.registry import all_specs, defaults, read, resolve
from refutable.models.spec import ModelSource


def test_the_studys_models_are_registered_with_their_kind_of_norm() -> None:
    stated = {spec.id: spec.norm for spec in all_specs()}
    layer = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl", "EleutherAI/pythia-6.9b")
    rms = ("mistralai/Mistral-7B-v0.1", "meta-llama/Llama-3.1-8B", "google/gemma-7b")
    assert {stated[name] for name in layer} == {"LayerNorm"}
    assert {stated[name] for name in rms} == {"RMSNorm"}
    assert stated["EleutherAI/pythia-70m"] == "LayerNorm"
    assert stated["smollm2-135m"] == "RMSNorm"
    assert all(spec.license for spec in all_specs())


def test_default_models_need_no_network() -> None:
    assert {spec.source for spec in defaults()} <= {ModelSource.TWIN}
    assert {spec.norm for spec in defaults()} == {"LayerNorm", "RMSNorm"}


def test_unknown_name_lists_near_matches() -> None:
    with pytest.raises(ModelError, match=r"unknown model 'gpt2-medum': did you mean gpt2-medium"):
        resolve("gpt2-medum")


def test_hub_id_takes_a_revision_and_others_refuse_it(tmp_path: Path) -> None:
    spec = resolve("someone/some-model", revision="v2")
    assert (spec.source, spec.location, spec.revision) == ("hub", "someone/some-model", "v2")
    with pytest.raises(ModelError, match="only hub models have revisions"):
        resolve(str(tmp_path), revision="v2")


def test_hub_id_of_a_registered_model_is_that_model() -> None:
    assert resolve("openai-community/gpt2-xl").id == "gpt2-xl"


def test_local_folder_is_named_after_itself(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    spec = resolve(str(folder))
    assert (spec.id, spec.source, Path(spec.location)) == ("my-model", "local", folder.resolve())


@pytest.mark.parametrize("name", ["./nowhere", "/no/such/folder", "a/b/c"])
def test_missing_folder_is_one_line(name: str) -> None:
    with pytest.raises(ModelError, match=r"no folder .*: give a folder that holds config\.json"):
        resolve(name)


def test_missing_gguf_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no file .*: give the path of an existing \.gguf"):
        resolve(str(tmp_path / "weights.gguf"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[model]]\nid='a'\nsource='hub'\nlocation='x/a'\ncolour=3", r"entry 0\.colour"),
        ("[[model]]\nid='a'\nsource='web'\nlocation='x/a'", r"entry 0\.source.*'hub'"),
        ("[[model]]\nid='a'\nsource='hub'", r"entry 0\.location"),
        ("[[model]]\nid='a'\nsource='hub'\nlocation='x/a'\n" * 2, "names a twice"),
        ("[[model", "cannot read the model registry"),
    ],
)
def test_malformed_registry_names_the_field(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "models.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        read(path)
