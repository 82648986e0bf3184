"""A suite that is laid out runs as it is, and so does a claim of each prediction word."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from refutable import predictions
from refutable.cli.suite.layout import files_of_a_suite, lay_out
from refutable.cli.suite.words import WORDS, claim_text
from refutable.errors import ClaimError, RefutableError
from refutable.spec.claim_files import claims_of_file
from refutable.spec.prompts import parse_prompts


@pytest.mark.parametrize("word", sorted(WORDS))
def test_each_word_has_a_claim_that_states_it(word: str, tmp_path: Path) -> None:
    path = tmp_path / f"test_{word.replace('-', '_')}.py"
    path.write_text(claim_text(word, f"mine.{word}", "test_it"))
    (claim,) = claims_of_file(path).values()
    assert claim.id == f"mine.{word}"
    made = eval(  # noqa: S307  (the text is ours)
        WORDS[word].predicts, {name: getattr(predictions, name) for name in predictions.__all__}
    )
    assert claim.predicts == made
    formatted = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--select=E,F,I", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert formatted.returncode == 0 or "E501" in formatted.stdout, formatted.stdout


def test_there_is_a_claim_for_each_word_but_those_of_one_study() -> None:
    words = {name for name in predictions.__all__ if name[0].islower()}
    have = {one.predicts.partition("(")[0].partition(".")[0] for one in WORDS.values()}
    # These two need what only the twins have: kernels, and observables along training.
    assert words - have == {"cross_similarity", "contrast_along"}


def test_an_unknown_word_and_what_is_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ClaimError, match="did you mean mean"):
        claim_text("meen", "mine.x", "test_x")
    (tmp_path / "conftest.py").write_text("# mine\n")
    written, kept = lay_out(tmp_path)
    assert kept == ["conftest.py"]
    assert (tmp_path / "conftest.py").read_text() == "# mine\n"
    assert sorted([*written, *kept]) == sorted(files_of_a_suite())
    with pytest.raises(RefutableError, match="is there already"):
        lay_out(tmp_path)


def test_its_files_are_what_they_say() -> None:
    files = files_of_a_suite()
    settings = tomllib.loads(files["pyproject.toml"])["tool"]["pytest"]["ini_options"]
    assert settings["claim_model"] == ["tiny-rmsnorm", "tiny-layernorm"]
    raw = tomllib.loads(files["prompts/mine.toml"])
    prompts = parse_prompts(raw, origin="mine", default_name="mine")
    assert len(prompts.families) >= 12
    assert "CHANGE" in files["claims/test_first_claim.py"]
