"""Command-line options and their twins in the configuration file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from refutable.errors import RefutableError, one_line
from refutable.falsify.budget import Budget, parse_budget
from refutable.measurement.room import parse_memory
from refutable.measurement.state import Settings
from refutable.spec.claim import ARMS

_LISTS = {
    "model": (
        "ID",
        "model to test: a registry name, a hub id, a local folder or a .gguf file (repeatable)",
    ),
    "id": ("GLOB", "run only claims whose id matches (repeatable)"),
    "arm": ("ARM", "run only the no-bos or only the bos arm (repeatable)"),
}
_VALUES = {
    "models-from": ("FILE", "file with one model id a line", ""),
    "prompts": (
        "NAME|FILE",
        "prompt set to use instead of the one each claim names; NAME:a,b keeps families a and b",
        "",
    ),
    "device": ("D", "torch device", "cpu"),
    "dtype": ("T", "float32, bfloat16 or float16", "float32"),
    "out": ("DIR", "folder for evidence, report and figures", "reports/latest"),
    "device-map": (
        "auto",
        "spread a model over all devices of the kind that --claim-device names, by accelerate",
        "",
    ),
    "memory": (
        "SIZE",
        "memory that a model may take, e.g. 8GB; one that does not fit is measured block by block "
        "(three quarters of the machine's by default)",
        "",
    ),
    "engine": (
        "local|ray|ray://HOST:PORT",
        "where models are measured: on this machine, or by the workers of a ray cluster that runs",
        "local",
    ),
    "baseline": ("FILE", "recorded verdicts", "reports/baseline.json"),
    "revision": ("R", "revision of hub models", ""),
    "unrecorded": (
        "fail|pass",
        "whether a refutation that nobody has recorded fails its test or is told as a finding",
        "fail",
    ),
    "search": (
        "N|SECONDSs",
        "candidates or seconds of each search for a counterexample; 0 replays stored ones alone",
        "",
    ),
    "certify": ("N", "size of the fresh sample that bounds violations where none is found", "0"),
    "report": ("yes|no", "write report.html, report.md and figures", "yes"),
    "release": ("yes|no", "record what each model says and what its files say, for the gate", "no"),
}
_CHOICES = {
    "device-map": ("", "auto"),
    "report": ("yes", "no"),
    "release": ("yes", "no"),
    "unrecorded": ("fail", "pass"),
}
_FLAGS = {
    "update-baseline": "record this run's verdicts as the accepted ones",
    "strict": "let INCONCLUSIVE fail",
    "profile": "tell at the end what each part of measuring took, and how much of it in the model",
    "measure-only": "let no verdict fail: the run is made to be compared with another",
    "register": "write down what the claims say, and measure nothing",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What the user asked for, from the command line or the configuration file."""

    models: tuple[str, ...]
    ids: tuple[str, ...]
    arms: tuple[str, ...]
    prompts: str | None
    device: str
    dtype: str
    base: Path
    """Folder that relative paths of options start from."""
    out: Path
    out_is_default: bool
    """Whether nobody named the folder: then a part of a run does not replace the whole one."""
    baseline: Path
    revision: str | None
    search: Budget
    certify: int
    report: bool
    release: bool
    update_baseline: bool
    unrecorded_passes: bool
    strict: bool
    measure_only: bool
    register: bool
    profile: bool
    device_map: str
    """``auto`` to spread models over devices; empty for one device."""
    engine: str
    """Where models are measured."""
    memory: int
    """Bytes; 0 where nothing was stated."""

    @property
    def settings(self) -> Settings:
        """How the run measures."""
        return Settings(
            self.device,
            self.dtype,
            self.revision,
            device_map=self.device_map,
            profile=self.profile,
            memory=self.memory,
            # Where pytest runs in several processes each has its core already.
            beside="PYTEST_XDIST_WORKER" not in os.environ,
        )


def add_options(parser: pytest.Parser) -> None:
    """Declare ``--claim-*`` options and ``claim_*`` settings of the same meaning."""
    group = parser.getgroup("refutable", "research claims about models")
    for name, (metavar, text) in _LISTS.items():
        group.addoption(f"--claim-{name}", action="append", metavar=metavar, help=text)
        parser.addini(_ini(name), help=text, type="args", default=[])
    for name, (metavar, text, default) in _VALUES.items():
        help_text = f"{text} [{default}]" if default else text
        group.addoption(f"--claim-{name}", metavar=metavar, default=None, help=help_text)
        parser.addini(_ini(name), help=help_text, default=default)
    for name, text in _FLAGS.items():
        group.addoption(f"--claim-{name}", action="store_true", default=None, help=text)
        parser.addini(_ini(name), help=text, type="bool", default=False)


def _ini(name: str) -> str:
    return "claim_" + name.replace("-", "_")


def read_options(config: pytest.Config) -> Options:
    """Read the options; a command-line option wins over the configuration file.

    Raises
    ------
    pytest.UsageError
        One line that names the option and what was expected.
    """

    def value(name: str) -> str:
        given = config.getoption(_ini(name))
        return str(config.getini(_ini(name)) if given is None else given)

    def flag(name: str) -> bool:
        return bool(config.getoption(_ini(name)) or config.getini(_ini(name)))

    def several(name: str) -> tuple[str, ...]:
        return tuple(config.getoption(_ini(name)) or config.getini(_ini(name)))

    base = _base(config)
    models = several("model")
    if listed := value("models-from"):
        models += _models_from(base / listed)
    if value("dtype") not in ("float32", "bfloat16", "float16"):
        raise pytest.UsageError(
            f"--claim-dtype expects float32, bfloat16 or float16, got {value('dtype')!r}"
        )
    for name, allowed in _CHOICES.items():
        if value(name) not in allowed:
            raise pytest.UsageError(
                f"--claim-{name} expects {' or '.join(filter(None, allowed))}, got {value(name)!r}"
            )
    return Options(
        models=tuple(dict.fromkeys(models)),
        ids=several("id"),
        arms=_arms(several("arm")),
        prompts=value("prompts") or None,
        device=value("device"),
        dtype=value("dtype"),
        base=base,
        out=base / value("out"),
        out_is_default=value("out") == _VALUES["out"][2],
        baseline=base / value("baseline"),
        revision=value("revision") or None,
        search=_budget(value("search")),
        certify=_count(value("certify")),
        report=value("report") == "yes",
        release=value("release") == "yes",
        update_baseline=flag("update-baseline"),
        unrecorded_passes=value("unrecorded") == "pass",
        strict=flag("strict"),
        measure_only=flag("measure-only"),
        register=flag("register"),
        profile=flag("profile"),
        device_map=value("device-map"),
        engine=_engine(config, value("engine")),
        memory=_memory(value("memory")),
    )


def _base(config: pytest.Config) -> Path:
    # pytest takes the folder in `--claim-model FOLDER` for a test path when it looks for its root,
    # because this plugin's options are not known to it by then. Without a configuration file that
    # root may lie anywhere, so paths are then relative to where the user is.
    return config.rootpath if config.inipath is not None else config.invocation_params.dir


def _budget(text: str) -> Budget:
    try:
        return parse_budget(text)
    except RefutableError as problem:
        raise pytest.UsageError(f"--claim-search: {one_line(problem)}") from None


def _memory(text: str) -> int:
    try:
        return parse_memory(text)
    except RefutableError as problem:
        raise pytest.UsageError(f"--claim-memory: {one_line(problem)}") from None


def _engine(config: pytest.Config, text: str) -> str:
    if text not in ("local", "ray") and not text.startswith("ray://"):
        raise pytest.UsageError(
            f"--claim-engine expects local, ray or ray://HOST:PORT, got {text!r}"
        )
    if text != "local" and config.getoption("numprocesses", None):
        raise pytest.UsageError(
            f"--claim-engine {text} and -n do not go together: the cluster has the workers"
        )
    return text


def _count(text: str) -> int:
    if not text.isdecimal():
        raise pytest.UsageError(f"--claim-certify expects a number of draws, got {text!r}")
    return int(text)


def _arms(given: tuple[str, ...]) -> tuple[str, ...]:
    for arm in given:
        if arm not in ARMS:
            raise pytest.UsageError(f"--claim-arm expects {' or '.join(ARMS)}, got {arm!r}")
    return given


def _models_from(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise pytest.UsageError(
            f"--claim-models-from cannot read {path.name}: {problem.__class__.__name__}; "
            "give a text file with one model id a line"
        ) from None
    names = (line.split("#")[0].strip() for line in lines)
    return tuple(name for name in names if name)
