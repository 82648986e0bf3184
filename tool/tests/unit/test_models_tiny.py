"""The embedded pair: shipped weights, and the recipe that made them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from refutable.errors import RefutableError
from refutable.models.load import LoadedModel, load, untrained
from refutable.models.registry import resolve
from refutable.models.sites import find_sites
from refutable.system.paths import fixtures
from refutable.training.tiny import TinyRecipe, encode_corpus, python_topics, train

PAIR = {spec.norm: spec for spec in (resolve("tiny-layernorm"), resolve("tiny-rmsnorm"))}
TEXTS = tuple(f"Sentence {at} says that {at} and {at + 1} follow each other." for at in range(80))
pytestmark = pytest.mark.usefixtures("cache")


def loss(loaded: LoadedModel) -> float:
    """Nats per token on eight windows of the training text."""
    stream = encode_corpus(loaded.tokenizer, python_topics()[:12])
    batch = stream[: 8 * 200].view(8, 200)
    with torch.no_grad():
        logits = loaded.model(input_ids=batch[:, :-1]).logits
    return float(cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten()))


@pytest.mark.parametrize("kind", ["LayerNorm", "RMSNorm"])
def test_shipped_models_pass_their_checks_and_have_learnt(kind: str) -> None:
    loaded = load(PAIR[kind])
    assert [check.name for check in loaded.checks if not check.passed] == []
    assert (loaded.facts.norm_kind, loaded.facts.blocks) == (kind, 4)
    assert loaded.facts.context >= 256
    assert loaded.facts.bos == 0
    # 6.64 nats is a uniform guess over 768 tokens.
    assert loss(loaded) < 4.5
    assert loss(untrained(loaded, 0)) > 6.3


def test_shipped_files_are_small_and_say_where_they_come_from() -> None:
    folder = fixtures() / "tiny"
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 2_000_000
    for spec in PAIR.values():
        said = json.loads((fixtures() / spec.location / "training.json").read_text("utf-8"))
        assert said["text"]["license"] == "PSF-2.0"
        assert TinyRecipe(**said["recipe"]) == TinyRecipe(said["recipe"]["kind"])


@pytest.mark.parametrize("kind", ["layernorm", "rmsnorm"])
def test_same_recipe_gives_the_same_weights(tmp_path: Path, kind: str) -> None:
    recipe = TinyRecipe(kind, steps=3, batch=1, blocks=2, d_model=32, d_vocab=300)  # type: ignore[arg-type]
    first = train(recipe, tmp_path / "a", texts=TEXTS)
    second = train(recipe, tmp_path / "b", texts=TEXTS)
    assert first == second
    files = [tmp_path / name / "model.safetensors" for name in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_short_training_learns(tmp_path: Path) -> None:
    steps: list[int] = []
    recipe = TinyRecipe("rmsnorm", steps=30, batch=2, blocks=2, d_model=32, d_vocab=300)
    end = train(recipe, tmp_path, texts=TEXTS, advance=lambda done, note: steps.append(done))
    assert end < 4.5  # a uniform guess over 300 tokens is 5.70 nats
    assert steps == list(range(1, 31))


def test_recipe_and_corpus_are_checked(tmp_path: Path) -> None:
    with pytest.raises(RefutableError, match="got kind='batchnorm'"):
        TinyRecipe("batchnorm")  # type: ignore[arg-type]
    with pytest.raises(RefutableError, match=r"corpus has \d+ tokens, it needs over 256"):
        train(TinyRecipe("rmsnorm", steps=1), tmp_path, texts=("short",))


def test_sites_of_the_pair() -> None:
    layer, rms = (find_sites(load(PAIR[kind]).model) for kind in ("LayerNorm", "RMSNorm"))
    assert "pos_embed" in layer
    assert "pos_embed" not in rms
    assert set(layer.norm_kinds.values()) == set(rms.norm_kinds.values()) == {"pre", "final"}
