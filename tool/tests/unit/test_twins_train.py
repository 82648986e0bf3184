"""Training twins: resumption, data order, log, gradients of frozen tables."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from refutable.errors import DivergedError, RefutableError
from refutable.system.files import SUFFIX
from refutable.training import twins
from refutable.training.data import TwinData, held_out_rows, rows_of_one_pass, training_rows
from refutable.training.log import read_log
from refutable.training.recipe import TwinRecipe, variant_named
from refutable.training.train import build_twin, groups_of, loss_on, rate_at, train_twin
from refutable.training.trigram import fit_trigram
from refutable.training.twins import Order

RECIPE = TwinRecipe(
    blocks=2, width=16, heads=2, vocabulary=40, context=12, steps=20, batch=4, warmup=4,
    evaluate_every=10, checkpoint_every=5, log_every=4, evaluation_rows=6, final_rows=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    rows = np.cumsum(random.integers(1, 3, 3000)) % 39 + 1
    return TwinData(rows[:2400], rows[2400:], "planted")


def test_a_stopped_run_goes_on_bit_for_bit(data, tmp_path):
    variant = variant_named("rmsnorm-ffn")
    whole = train_twin(variant, 5, RECIPE, data, tmp_path / "whole", show_progress=False)
    halves = tmp_path / "halves"
    cut = train_twin(
        variant, 5, RECIPE, data, halves, show_progress=False, stop=lambda step: step == 12
    )
    assert len(cut.losses) == 12
    assert not (halves / "training.json").exists()
    with pytest.raises(RefutableError, match="no finished twin"):
        read_log(halves)
    again = train_twin(variant, 5, RECIPE, data, halves, show_progress=False)
    assert again.losses == whole.losses
    assert again.evaluations == whole.evaluations
    assert again.gradient_norms == whole.gradient_norms
    assert again.held_out_loss == whole.held_out_loss
    first, second = (load_file(tmp_path / n / "model.safetensors") for n in ("whole", "halves"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[k], second[k]) for k in first)
    assert not list(halves.glob(f".*{SUFFIX}"))
    assert read_log(halves).losses == whole.losses


def test_an_unfinished_run_of_another_recipe_is_refused(data, tmp_path):
    variant = variant_named("none")
    train_twin(variant, 0, RECIPE, data, tmp_path, show_progress=False, stop=lambda s: s == 6)
    with pytest.raises(RefutableError, match="unfinished run of none seed 0"):
        train_twin(variant, 0, replace(RECIPE, clip=2.0), data, tmp_path, show_progress=False)


def test_a_run_that_diverges_ends_at_once_and_others_go_on(data, tmp_path, monkeypatch):
    broken = replace(RECIPE, learning_rate=1e30)
    said = r"seed 0 diverged: its loss is (nan|inf) at step [2-9]"
    with pytest.raises(DivergedError, match=said):
        train_twin(variant_named("none"), 0, broken, data, tmp_path / "one", show_progress=False)
    assert not list((tmp_path / "one").glob("step-*"))
    # Of two runs that are asked for the second is trained though the first diverges.
    monkeypatch.setattr(twins, "load_data", lambda: data)
    monkeypatch.setattr(twins, "ship", lambda run, out: None)
    planned = [(variant_named("none"), 0), (variant_named("none"), 1)]
    monkeypatch.setattr(Order, "planned", lambda order: planned)
    # The first is asked for how long they take.
    rates = iter((RECIPE, broken, RECIPE))
    monkeypatch.setattr(Order, "recipe_of", lambda order, variant: next(rates))
    with pytest.raises(DivergedError, match=said):
        twins.train_twins(Order(), tmp_path, "cpu", lambda line: None)
    assert not (tmp_path / "none-0" / "training.json").exists()
    assert (tmp_path / "none-1" / "training.json").exists()


def test_a_finished_run_of_another_recipe_is_refused(data, tmp_path):
    variant = variant_named("none")
    log = train_twin(variant, 0, RECIPE, data, tmp_path, show_progress=False)
    again = train_twin(variant, 0, RECIPE, data, tmp_path, show_progress=False)
    assert again.losses == log.losses
    longer = replace(RECIPE, steps=RECIPE.steps + 5)
    with pytest.raises(RefutableError, match=r"finished run of none seed 0 \(20 steps\)"):
        train_twin(variant, 0, longer, data, tmp_path, show_progress=False)


def test_rows_come_over_again_after_one_pass_and_count_once_for_the_trigram(data, tmp_path):
    recipe = replace(RECIPE, steps=120)
    rows = training_rows(data.train, recipe, 3)
    once = rows_of_one_pass(data.train, recipe, 3)
    assert once < len(rows)
    assert len(np.unique(rows[:once, 1:], axis=0)) == once
    # The first token may be the begin-of-sequence token in one of the two.
    assert np.array_equal(rows[once : 2 * once, 1:], rows[:once, 1:])
    log = train_twin(variant_named("none"), 3, recipe, data, tmp_path, show_progress=False)
    held_out = held_out_rows(data.held_out, recipe.final_rows, recipe.context)
    expected = fit_trigram(rows[:once], recipe.vocabulary).loss(held_out)
    assert log.trigram_loss == pytest.approx(expected, rel=1e-5)


NONE, BOTH = variant_named("none"), variant_named("layernorm-both")


def test_steps_change_the_length_alone():
    longer = Order(steps=5000).recipe_of(NONE)
    assert longer == replace(TwinRecipe(), steps=5000)
    assert Order().recipe_of(NONE) == TwinRecipe()
    with pytest.raises(RefutableError, match="above the 30 steps of the warm-up, got 30"):
        Order(steps=30).recipe_of(NONE)


def test_a_rate_changes_the_rate_alone():
    assert Order(rate=1e-3).recipe_of(NONE) == replace(TwinRecipe(), learning_rate=1e-3)
    for rate in (0.0, -1e-3, float("nan"), float("inf")):
        with pytest.raises(RefutableError, match="expected --rate above 0"):
            Order(rate=rate).recipe_of(NONE)


def test_the_tuned_recipe_is_the_trained_one_at_each_variants_best_rate():
    assert Order("tuned").recipe_of(BOTH) == Order("trained").recipe_of(BOTH)
    shared = Order("trained").recipe_of(NONE)
    assert Order("tuned").recipe_of(NONE) == replace(shared, learning_rate=6e-3)
    assert Order("tuned", rate=1e-3).recipe_of(NONE) == replace(shared, learning_rate=1e-3)


def test_training_learns_and_the_log_says_so(data, tmp_path):
    recipe = replace(RECIPE, steps=80, learning_rate=1e-2)
    log = train_twin(variant_named("layernorm-both"), 0, recipe, data, tmp_path,
                     show_progress=False)  # fmt: skip
    assert [step for step, _ in log.evaluations] == list(range(0, 81, 10))
    # two equally likely successors: ln 2 at best, ln 39 before
    assert log.evaluations[0][1] > 3.3
    assert log.held_out_loss < 1.6
    assert np.log(2) - 0.02 < log.trigram_loss < 0.9
    assert len(log.gradient_norms) == 20
    assert log.groups == ["embed", "blocks.0", "blocks.1"]
    weights = load_file(tmp_path / "model.safetensors")
    model = build_twin(variant_named("layernorm-both"), recipe, 0)
    model.load_state_dict(weights, strict=False)
    rows = held_out_rows(data.held_out, recipe.final_rows, recipe.context)
    assert loss_on(model.eval(), rows) == pytest.approx(log.held_out_loss, abs=1e-5)
    of_block = groups_of(model)["blocks.1"]
    norm = torch.cat([p.detach().flatten() for p in of_block]).norm().item()
    assert log.weight_norms[-1][2] == pytest.approx(norm, rel=1e-4)


def test_the_table_without_positions_stays_exactly_zero(data, tmp_path):
    variant = variant_named("layernorm-both-no-positions")
    train_twin(variant, 0, RECIPE, data, tmp_path, show_progress=False)
    weights = load_file(tmp_path / "model.safetensors")
    assert weights["transformer.wpe.weight"].abs().max().item() == 0.0
    start = build_twin(variant, RECIPE, 0)
    assert not torch.equal(weights["transformer.wte.weight"], start.transformer.wte.weight)


def test_rows_are_shared_by_variants_and_visit_each_window_once(data):
    recipe = replace(RECIPE, steps=40)
    rows = training_rows(data.train, recipe, seed=1)
    assert rows.shape == (160, 13)
    assert np.array_equal(rows, training_rows(data.train, recipe, seed=1))
    assert not np.array_equal(rows, training_rows(data.train, recipe, seed=2))
    assert 0.35 < (rows[:, 0] == 0).mean() < 0.65
    assert (rows[:, 1:] > 0).all()
    windows = {row[1:].tobytes() for row in rows}
    assert len(windows) > 155


def test_held_out_rows_alternate_the_first_token(data):
    rows = held_out_rows(data.held_out, 6, 12)
    assert (rows[::2, 0] == 0).all()
    assert (rows[1::2, 0] > 0).all()
    assert np.array_equal(rows[1, 1:], data.held_out[97:109])


def test_the_rate_warms_up_and_ends_at_its_share():
    recipe = TwinRecipe(learning_rate=1.0, warmup=10, steps=110, final_rate=0.1)
    assert rate_at(recipe, 0) == pytest.approx(0.1)
    assert rate_at(recipe, 9) == pytest.approx(1.0)
    assert rate_at(recipe, 60) == pytest.approx(0.55)
    assert rate_at(recipe, 109) == pytest.approx(0.1, abs=1e-3)


def test_a_shipped_twin_loads_everywhere_and_is_the_trained_one_in_half_precision(tmp_path):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from refutable.training.ship import ship, trained_twin

    random = np.random.default_rng(0)
    stream = random.integers(1, 1024, 2000)
    recipe = replace(RECIPE, vocabulary=1024, steps=5)
    data = TwinData(stream, stream[:400], "noise")
    train_twin(variant_named("rmsnorm-attention"), 0, recipe, data, tmp_path / "run",
               show_progress=False)  # fmt: skip
    ship(tmp_path / "run", tmp_path / "out")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    exact = dict(trained_twin(tmp_path / "run").named_parameters())
    for name, tensor in again.named_parameters():
        assert torch.equal(tensor, exact[name].half().float()), name
    early = dict(trained_twin(tmp_path / "run", step=5).named_parameters())
    assert all(torch.equal(early[n], exact[n].half().float()) for n in exact)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    ids = tokenizer("It is a truth universally acknowledged", add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == "It is a truth universally acknowledged"
    assert tokenizer.bos_token_id == 0
    assert len(tokenizer) == 1024
    assert read_log(tmp_path / "out").held_out_loss == read_log(tmp_path / "run").held_out_loss
    assert not (tmp_path / "out" / "generation_config.json").exists()


def test_planned_runs():
    def planned(variant: str | None, seed: int | None) -> list[tuple[str, int]]:
        chosen = variant_named(variant) if variant else None
        return [(v.name, s) for v, s in Order(variant=chosen, seed=seed).planned()]

    assert len(planned(None, None)) == 49
    assert len(planned(None, 0)) == 8
    assert planned("rmsnorm-ffn", 3) == [("rmsnorm-ffn", 3)]
    assert [seed for _, seed in planned("none", None)] == list(range(8))
