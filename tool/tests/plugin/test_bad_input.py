"""Bad models, prompts and claims: one line each, and everything else goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.projects import (
    GROWS,
    change_config,
    change_tensors,
    claim_source,
    evidence,
    module,
    verdicts,
    write_gpt2,
)

pytestmark = pytest.mark.filterwarnings("default")

GAIN = "transformer__h__1__ln_1__weight"
BIAS = "transformer__h__1__ln_1__bias"


def damage(folder: Path) -> dict[str, Path]:
    """Write one model per kind of damage."""
    import torch

    def model(name: str) -> Path:
        return write_gpt2(folder / name, seed=3)

    identity: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {}
    for layer in range(3):
        for norm in ("ln_1", "ln_2"):
            name = f"transformer__h__{layer}__{norm}__"
            identity |= {name + "weight": torch.ones_like, name + "bias": torch.zeros_like}
    return {
        "identity-norms": change_tensors(model("identity-norms"), **identity),
        "not-numbers": change_tensors(model("not-numbers"), **{GAIN: lambda t: t * float("nan")}),
        "lacking": change_tensors(model("lacking"), **{GAIN: None}),
        "surplus": change_tensors(
            model("surplus"), **{"transformer__h__1__extra": lambda _: torch.ones(3)}
        ),
        "blockless": change_config(model("blockless"), n_layer=0),
    }


SAYS = {
    "identity-norms": "norm-gains: in every block the gains of these norms are exactly 1",
    "not-numbers": "weights-finite: these parameters hold NaN or infinite values",
    "lacking": "weights-complete: these parameters are not in the checkpoint",
    "surplus": "weights-used: the checkpoint holds tensors that its model class has no place for",
    "blockless": "block",
    "tiny-layernrm": "unknown model 'tiny-layernrm': did you mean tiny-layernorm",
    "nobody/nothing": "nobody/nothing is not in the hub's cache and HF_HUB_OFFLINE is set",
    "./missing": "no folder ./missing: give a folder that holds config.json and weights",
}


def test_a_bad_model_is_one_line_and_the_others_go_on(
    project: pytest.Pytester, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    project.makepyfile(test_mine=module(claim_source("grows")))
    bad = [str(path) for path in damage(tmp_path).values()]
    names = [*bad, "tiny-layernrm", "nobody/nothing", "./missing", str(models / "little")]
    result = project.runpytest_inprocess(*(f"--claim-model={name}" for name in names))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=1, errors=len(SAYS))
    content = evidence(project)
    assert {r["model"]: r["outcome"] for r in content["results"]} == {
        "little": "passed",
        **dict.fromkeys(SAYS, "error"),
    }
    text = result.stdout.str() + result.stderr.str()
    assert "Traceback" not in text
    assert "Error:" not in text
    for record in content["results"]:
        if record["model"] in SAYS:
            assert record["verdict"] is None
            assert SAYS[record["model"]] in record["reason"]
            # The summary says it in one line of its own.
            assert any(
                line.startswith("ERROR") and record["reason"] in line for line in text.splitlines()
            )
    reported = {m["id"]: m for m in content["models"]}
    assert set(reported) == {"little", *SAYS}
    assert SAYS["lacking"] in reported["lacking"]["error"]
    assert not reported["little"]["error"]


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ("twice.toml", "prompts a/0 and a/1 are the same: a repeated prompt counts twice"),
        ("empty.toml", "prompt 2 of family 'a' needs token ids of 0 or more, got []"),
        ("mine:f0,f99", "prompt set 'mine' has no family 'f99': did you mean f9"),
        ("nine", "unknown prompt set 'nine': did you mean mine"),
        ("gone.toml", "no prompt file "),
    ],
)
def test_prompts_that_cannot_be_used(
    project: pytest.Pytester, models: Path, prompts: str, expected: str
) -> None:
    project.makepyfile(test_mine=module(claim_source("grows")))
    for name, ids in (("twice", [[1, 2], [1, 2]]), ("empty", [[1], []])):
        text = f'name = "x"\n[[family]]\nname = "a"\ninput_ids = {ids}\n'
        (project.path / f"{name}.toml").write_text(text)
    result = project.runpytest_inprocess(
        f"--claim-model={models / 'little'}", f"--claim-prompts={prompts}"
    )
    result.assert_outcomes(errors=1)
    (record,) = evidence(project)["results"]
    assert (record["outcome"], record["verdict"]) == ("error", None)
    assert expected in record["reason"]
    text = result.stdout.str() + result.stderr.str()
    assert "Traceback" not in text
    assert any(line.startswith("ERROR") and expected in line for line in text.splitlines())


def test_a_prompt_that_does_not_fit_one_model_leaves_the_others(
    project: pytest.Pytester, models: Path
) -> None:
    # 7 prompts of the set are longer than the second model's context of 4.
    short = write_gpt2(project.path / "short", n_positions=4)
    project.makepyfile(test_mine=module(claim_source("grows")))
    result = project.runpytest_inprocess(
        f"--claim-model={models / 'little'}", f"--claim-model={short}"
    )
    result.assert_outcomes(passed=1, errors=1)
    (record,) = (r for r in evidence(project)["results"] if r["model"] == "short")
    assert record["outcome"] == "error"
    assert "prompt f0/2 has 5 tokens, short takes 4: shorten it" in record["reason"]
    assert "Traceback" not in result.stdout.str()


BODIES = (
    GROWS
    + '''
@claim(
    id="gain.aligned", statement="s", refuted_if="r", source=Source(study="mine", ref="A"),
    predicts=mean.above(0.0), prompts="mine",
)
def test_aligned(residual_norm):
    """Ratio of neighbouring layers, aligned by label by mistake."""
    ratio = residual_norm.isel(layer=slice(1, None)) / residual_norm.isel(layer=slice(None, -1))
    return ratio.mean("layer")

@claim(
    id="gain.raises", statement="s", refuted_if="r", source=Source(study="mine", ref="B"),
    predicts=mean.above(0.0), prompts="mine",
)
def test_raises(residual_norm):
    """A body with a mistake."""
    return residual_norm.isel(layer=99)

@claim(
    id="gain.unreduced", statement="s", refuted_if="r", source=Source(study="mine", ref="C"),
    predicts=mean.above(0.0), prompts="mine",
)
def test_unreduced(residual_norm):
    """A body that leaves the layers in."""
    return residual_norm

def test_plain(residual_norm):
    assert residual_norm
'''
)


def test_a_body_that_cannot_be_computed_is_an_error_and_no_refutation(
    project: pytest.Pytester, models: Path
) -> None:
    project.makepyfile(test_mine=BODIES + claim_source("grows"))
    result = project.runpytest_inprocess(f"--claim-model={models / 'little'}")
    result.assert_outcomes(passed=1, errors=4)
    result.stdout.fnmatch_lines(
        ["only claims can ask for observables: decorate the test with @refutable.claim"]
    )
    assert verdicts(project) == {
        ("gain.aligned", "little"): None,
        ("gain.raises", "little"): None,
        ("gain.unreduced", "little"): None,
        ("gain.grows", "little"): "confirmed",
    }
    reasons = {r["claim"]: r["reason"] for r in evidence(project)["results"]}
    line = BODIES.strip().splitlines().index("    return residual_norm.isel(layer=99)") + 1
    assert reasons["gain.raises"].startswith("the body of gain.raises failed on little: IndexError")
    assert reasons["gain.raises"].endswith(f".py:{line})")
    assert "the body of gain.aligned failed on little" in reasons["gain.aligned"]
    assert "layer" in reasons["gain.aligned"]
    assert reasons["gain.unreduced"].startswith("gain.unreduced on little: expected the body")
    assert "reduce or keep the named dims with xarray" in reasons["gain.unreduced"]
    assert "Traceback" not in result.stdout.str()


def test_badly_formed_claims_are_refused_at_collection(
    project: pytest.Pytester, models: Path
) -> None:
    project.makepyfile(
        test_fixture=module(
            claim_source("uses", observable="tmp_path", body="return tmp_path"),
        ),
        test_near=module(
            claim_source("near", observable="residual_nrm", body="return residual_nrm"),
        ),
        test_good=module(claim_source("grows")),
    )
    model = f"--claim-model={models / 'little'}"
    result = project.runpytest_inprocess(model)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        ["*claim gain.uses asks for 'tmp_path', which is not an observable: *"]
    )
    result.stdout.fnmatch_lines(["*'residual_nrm', which is not an observable: did you mean*"])
    assert "Traceback" not in result.stdout.str()
    # Nothing was measured for a run that could not be collected.
    assert not list(project.path.glob("cache/observations/observations/*/*"))

    for path in project.path.glob("test_*.py"):
        path.unlink()
    again = project.makepyfile(
        test_one=module(claim_source("grows")), test_two=module(claim_source("grows"))
    )
    assert again.exists()
    twice = project.runpytest_inprocess(model)
    assert twice.ret == pytest.ExitCode.USAGE_ERROR
    text = twice.stdout.str() + twice.stderr.str()
    assert "claim id 'gain.grows' is used by" in text
    assert text.count("gain.grows") == 1
    assert "Traceback" not in text


def test_options_that_name_nothing_are_usage_errors(project: pytest.Pytester) -> None:
    project.makepyfile(test_mine=module(claim_source("grows")))
    wrong = {
        "--claim-dtype=int3": "--claim-dtype expects float32, bfloat16 or float16, got 'int3'",
        "--claim-arm=sideways": "--claim-arm expects no-bos or bos, got 'sideways'",
        "--claim-report=perhaps": "--claim-report expects yes or no, got 'perhaps'",
        "--claim-models-from=none.txt": "--claim-models-from cannot read none.txt",
        "--claim-device-map=some": "--claim-device-map expects auto, got 'some'",
        "--claim-engine=slurm": "--claim-engine expects local, ray or ray://HOST:PORT, got 'slurm'",
        "--claim-engine=ray -n2": "--claim-engine ray and -n do not go together",
    }
    for option, expected in wrong.items():
        result = project.runpytest_inprocess(*option.split())
        assert result.ret == pytest.ExitCode.USAGE_ERROR, option
        lines = [line for line in result.stderr.lines if line.strip()]
        assert len(lines) == 1, lines
        assert expected in lines[0]


def test_a_cluster_without_ray_is_a_usage_error(
    project: pytest.Pytester, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    project.makepyfile(test_mine=module(claim_source("grows")))
    result = project.runpytest_inprocess(
        f"--claim-model={models / 'little'}", "--claim-engine=ray://127.0.0.1:10001"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert 'ray is not installed: pip install "refutable[ray]"' in text
    assert "Traceback" not in text


def test_a_broken_baseline_is_a_usage_error(project: pytest.Pytester, models: Path) -> None:
    project.makepyfile(test_mine=module(claim_source("grows")))
    path = project.path / "reports" / "baseline.json"
    path.parent.mkdir()
    path.write_text('{"schema": "another/1"}')
    result = project.runpytest_inprocess(f"--claim-model={models / 'little'}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "its schema is 'another/1', expected 'refutable.baseline/2'" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ("none.toml", "none.toml has no [[family]] table: add one with a name and prompts"),
        ("five-registers:verse", "prompt set 'five-registers' has no family 'verse'"),
    ],
)
def test_prompts_that_cannot_be_used_on_shipped_models(
    project: pytest.Pytester, prompts: str, expected: str
) -> None:
    # Whether shipped models are measured ahead is asked before any item runs.
    project.makepyfile(test_mine=module(claim_source("grows")))
    (project.path / "none.toml").write_text("")
    result = project.runpytest_inprocess("--claim-model=tiny-rmsnorm", f"--claim-prompts={prompts}")
    result.assert_outcomes(errors=1)
    (record,) = evidence(project)["results"]
    assert (record["outcome"], record["verdict"]) == ("error", None)
    assert expected in record["reason"]
    assert "Traceback" not in result.stdout.str()


def test_a_baseline_that_is_a_folder_is_a_usage_error(
    project: pytest.Pytester, models: Path
) -> None:
    project.makepyfile(test_mine=module(claim_source("grows")))
    (project.path / "reports" / "baseline.json").mkdir(parents=True)
    result = project.runpytest_inprocess(f"--claim-model={models / 'little'}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = result.stdout.str() + result.stderr.str()
    assert "cannot read baseline baseline.json (Is a directory" in text
    assert ": restore it, or delete it" in text
    assert "Traceback" not in text
