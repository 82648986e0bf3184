"""The files of a suite of one's own."""

from __future__ import annotations

from pathlib import Path

from refutable.cli.suite.words import claim_text
from refutable.errors import RefutableError
from refutable.system.files import write
from refutable.system.paths import writable

_FAMILIES = {
    "lost": ("I left my umbrella in the", "She left her wallet on the"),
    "asked": ("He asked the baker for a", "We asked the nurse about the"),
    "carried": ("They carried the sofa up the", "She carried her bag into the"),
    "waited": ("We waited an hour for the", "I waited all day at the"),
    "paid": ("He paid the driver for the", "They paid too much for a"),
    "forgot": ("She forgot to lock the", "He forgot the name of the"),
    "opened": ("We opened the window of the", "They opened a box with the"),
    "walked": ("He walked along the wall of the", "She walked past the gate of the"),
    "wrote": ("I wrote a letter to the", "They wrote the answer on the"),
    "bought": ("She bought a ticket for the", "We bought some bread at the"),
    "heard": ("He heard the sound of the", "I heard a story about the"),
    "built": ("They built a house near the", "She built a shelf for the"),
}

_SETTINGS = """# Settings of the suite; each is also an option: claim_model is --claim-model.
[tool.pytest.ini_options]
testpaths = ["claims"]
addopts = "--import-mode=importlib"
# CHANGE: a folder, a .gguf file, a hub id or a name of `refutable list models`.
claim_model = ["tiny-rmsnorm", "tiny-layernorm"]
# A refutation that nobody has recorded is a finding; CHANGE to "fail" once you record verdicts.
claim_unrecorded = "pass"
"""

_CONFTEST = '''"""Gives the suite's prompt sets their names: prompts/NAME.toml is NAME."""

from pathlib import Path


def pytest_refutable_data():
    """Return the folder that holds prompts/."""
    return Path(__file__).parent
'''

_WORKFLOW = """name: Claims
on: [push]
permissions: {}
jobs:
  claims:
    runs-on: ubuntu-latest
    timeout-minutes: 30
    permissions:
      contents: read
    env:
      REFUTABLE_CACHE: ${{ github.workspace }}/.refutable
      HF_HOME: ${{ github.workspace }}/.hub
    steps:
      - uses: actions/checkout@v4
        with: {persist-credentials: false}
      - uses: actions/setup-python@v5
        with: {python-version: "3.12"}
      - uses: actions/cache@v4
        with:
          path: |
            .refutable
            .hub
          key: refutable-${{ runner.os }}-${{ github.sha }}
          restore-keys: refutable-${{ runner.os }}-
      - run: python -m pip install refutable  # CHANGE: pin the version that you use
      - run: pytest --junitxml=reports/junit.xml
      - uses: actions/upload-artifact@v4
        if: always()
        with: {name: report, path: reports}
"""

_IGNORE = """reports/latest/
.refutable/
.hub/
__pycache__/
"""


def files_of_a_suite() -> dict[str, str]:
    """Return the files of a new suite, by their paths in it."""
    return {
        "claims/test_first_claim.py": claim_text(
            "mean", "mine.first-claim", "test_first_claim"
        ).replace('unit="log ratio",', 'unit="log ratio",\n    prompts="mine",'),
        "prompts/mine.toml": _prompts(),
        "conftest.py": _CONFTEST,
        "pyproject.toml": _SETTINGS,
        ".github/workflows/claims.yml": _WORKFLOW,
        ".gitignore": _IGNORE,
    }


def lay_out(folder: Path) -> tuple[list[str], list[str]]:
    """Write a suite into a folder; what is there already is left as it is.

    Returns
    -------
    written, kept : list of str
        Paths in the folder.

    Raises
    ------
    RefutableError
        If the folder holds a suite already, or cannot be written to.
    """
    writable(folder)
    files = files_of_a_suite()
    first = folder / "claims" / "test_first_claim.py"
    if first.exists():
        raise RefutableError(
            f"{first} is there already: add a claim with `refutable claims new`, or name another "
            "folder"
        )
    written, kept = [], []
    for name, text in files.items():
        path = folder / name
        if path.exists():
            kept.append(name)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, text)
        written.append(name)
    return written, kept


def settings() -> str:
    """Return the settings that a pyproject.toml of a suite holds."""
    return _SETTINGS


def _prompts() -> str:
    head = [
        'name = "mine"',
        'description = "Unfinished sentences; a family shares a template."  # CHANGE',
        "",
        "# A family is a unit of every interval: five are needed, thirty decide most things.",
    ]
    families = []
    for name, prompts in _FAMILIES.items():
        texts = ", ".join(f'"{text}"' for text in prompts)
        families += ["", "[[family]]", f'name = "{name}"', f"prompts = [{texts}]"]
    return "\n".join([*head, *families]) + "\n"
