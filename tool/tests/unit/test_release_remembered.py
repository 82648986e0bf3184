"""What the files of a release say is read once; a file that changed is read again."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from refutable.measurement.harness import open_harness
from refutable.measurement.release import release_of
from refutable.models.facts import remembered
from refutable.spec.prompts import PromptLibrary
from refutable.system.paths import fixtures

PROMPTS = "five-registers"
AGAIN = """
import sys
from refutable.measurement.harness import open_harness
from refutable.measurement.release import release_of
from refutable.spec.prompts import PromptLibrary
from refutable.system.paths import fixtures

found = release_of(open_harness(PromptLibrary([fixtures()])), sys.argv[1], sys.argv[2])
print(*{name.split(".")[0] for name in sys.modules} & {"torch", "transformers"})
print(found.facts["config"]["hidden_size"], int(found.behaviour["no-bos"].ends.max()))
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("REFUTABLE_CACHE", str(tmp_path / "cache"))
    return shutil.copytree(fixtures() / "tiny" / "rmsnorm", tmp_path / "model")


def released(folder):
    return release_of(open_harness(PromptLibrary([fixtures()])), str(folder), PROMPTS)


def test_a_second_reading_imports_neither_torch_nor_transformers(folder):
    first = released(folder)
    command = [sys.executable, "-c", AGAIN, str(folder), PROMPTS]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=True)
    imported, values = done.stdout.splitlines()
    assert imported == ""
    ends = int(first.behaviour["no-bos"].ends.max())
    assert values == f"{first.facts['config']['hidden_size']} {ends}"
    assert ends > 0


def test_a_file_that_changed_is_read_again(folder):
    before = released(folder).facts
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "generation_config.json").write_text(json.dumps({"top_k": 7}))
    after = released(folder).facts
    assert before["tokenizer"]["template"] != after["tokenizer"]["template"] == "{{ messages }}"
    assert after["generation"]["top_k"] == 7
    assert {**before, "tokenizer": 0, "generation": 0} == {**after, "tokenizer": 0, "generation": 0}


def test_what_could_not_be_read_is_not_remembered(folder):
    from refutable.models.checkpoint import read_checkpoint

    checkpoint, calls = read_checkpoint(folder), []

    def read():
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("once")
        return {"answer": len(calls)}

    with pytest.raises(ValueError, match="once"):
        remembered.remembered("test", checkpoint, (), read)
    for _ in range(2):
        assert remembered.remembered("test", checkpoint, (), read) == {"answer": 2}
    assert remembered.remembered("test", checkpoint, ("other",), read) == {"answer": 3}
