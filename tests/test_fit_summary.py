"""The table of what the rule trains."""

import os

import fit_cases
import keras
import model_cases as cases
import numpy as np
import pytest
from keras import layers

from keras_learned_rule import LearnedRule, RuleBinding
from keras_learned_rule.fit import step_memory
from keras_learned_rule.model.inputs import model_inputs


@pytest.fixture(autouse=True)
def wide_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "140")


def printed(model, rule="compact", batch_size=128, **options):
    lines = []
    LearnedRule(rule, **options).summary(model, batch_size, print_fn=lines.append)
    return "\n".join(lines)


def mebibytes(text):
    return float(text.split("keeps ")[1].split(" MiB")[0].replace(",", ""))


def row(text, name):
    rows = [[c.strip() for c in line.split("│")[1:-1]] for line in text.splitlines()]
    (found,) = [cells for cells in rows if cells and cells[0].split("/")[-1] == name]
    return found[1:]


def test_what_learns_and_what_does_not():
    text = printed(cases.residual_cnn(), batch_size=16, replay=0)
    assert row(text, "stem") == ["yes", "27 x 6", "Batch", "relu", "1,024"]
    assert row(text, "classes") == ["no: a head", "", "", "", ""]
    grouped = printed(cases.grouped_cnn(), batch_size=16, replay=0)
    assert row(grouped, "grouped") == ["yes", "2 x 6 x 3", "Group", "prelu", "112"]
    assert row(grouped, "embedding") == ["yes", "25 x 4", "", "", "16"]
    assert row(printed(cases.siamese()), "hidden") == ["yes", "6 x 5", "", "relu", "256"]


def test_examples_and_memory_follow_batch_size_and_limit():
    model = cases.residual_cnn()
    assert row(printed(model, batch_size=256), "stem")[-1] == "4,096"
    assert row(printed(model, batch_size=256, examples=None), "stem")[-1] == "16,384"
    few, many = printed(model, examples=100), printed(model, examples=None)
    assert mebibytes(few) < mebibytes(many)


def test_replay_fills_batches_up_and_takes_memory():
    model = keras.Sequential([keras.Input((256,)), layers.Dense(4, name="code")])
    without, filled = (printed(model, batch_size=16, replay=r) for r in (0, "auto"))
    assert row(without, "code")[-1] == "16" and row(filled, "code")[-1] == "128"
    # 8,192 examples of 256 numbers take 8 MiB; the 112 that the batch is filled up with are in the
    # batch and among the examples.
    assert mebibytes(filled) - mebibytes(without) == pytest.approx(8.2, abs=0.11)
    assert "filled up to 128" in filled and "filled up" not in without


def test_several_nonlinearities_are_all_named():
    def model():
        first = layers.Dense(4, "relu", name="first")
        return keras.Sequential(
            [keras.Input((6,)), first, layers.Activation("tanh"), layers.Dense(5, name="last")]
        )

    for rule in ("compact", fit_cases.published_rule()):
        text = printed(model(), rule)
        assert row(text, "first")[3] == "relu, tanh" and row(text, "last")[3] == ""


def test_a_rule_with_a_neuron_network_says_what_fit_says():
    rule = fit_cases.published_rule()
    text = printed(fit_cases.network(), rule)
    assert row(text, "first") == ["yes", "10 x 8", "Batch", "relu", "128"]
    assert row(text, "embedding") == ["yes", "8 x 5", "", "tanh", "128"]
    wide = keras.Sequential([keras.Input((6,)), layers.Dense(9, name="wide")])
    for model in (cases.residual_cnn(), cases.siamese(), wide):
        errors = []
        for run in (
            lambda model: printed(model, rule),
            lambda model: fit_cases.fit(model, np.zeros((4, 6)), LearnedRule(rule)),
        ):
            model.compile()
            with pytest.raises(ValueError) as error:
                run(model)
            errors.append(str(error.value))
        assert errors[0] == errors[1]


def test_a_batch_size_that_is_none():
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1"):
        printed(cases.siamese(), batch_size=0)


def test_after_a_fit_the_mean_update_size_of_its_last_epoch_is_shown():
    model, x = cases.towers(), cases.batch(model_inputs(cases.towers()))
    rule = LearnedRule(fit_cases.compact_rule(), log_layers=True)
    model.compile()
    options = dict(batch_size=8, epochs=2, verbose=0, callbacks=[rule])
    history = model.fit(x, validation_data=(x,), **options).history
    lines = []
    rule.summary(model, print_fn=lines.append)
    for name in ("user_hidden", "user_code", "item_code"):
        last = history[f"update_size/{name}"][-1]
        assert float(row(lines[0], name)[-1]) == pytest.approx(last, rel=0.06)
    rule.summary(cases.towers(), print_fn=lines.append)
    assert "update size" in lines[0] and "update size" not in lines[1]


def large_images():
    """16 GiB an example, which nothing here computes."""
    inputs = keras.Input((40_000, 35_000, 3))
    return keras.Model(inputs, layers.Conv2D(4, 3, name="conv")(inputs))


def needed(warning):
    return float(str(warning.message).split("keeps ")[1].split(" MiB")[0].replace(",", ""))


def test_a_step_that_needs_more_memory_than_there_is_warns_with_the_number():
    model = large_images()
    message = r"on 2 examples keeps .* has [\d,.]+ MiB left. .*`examples=1024`.*`replay=0`.*smaller"
    with pytest.warns(UserWarning, match=message) as warned:
        RuleBinding(model, fit_cases.compact_rule())
    # Two images, and little beside them.
    assert needed(warned[0]) == pytest.approx(4 * 2 * 40_000 * 35_000 * 3 / 2**20, rel=1e-3)
    with pytest.warns(UserWarning, match="on 16 examples keeps") as warned:
        text = printed(model, batch_size=16)
    assert needed(warned[0]) == mebibytes(text)


@pytest.mark.parametrize("available, warns", [(2**20, True), (2**30, False), (None, False)])
def test_what_is_left_decides_on_the_warning(monkeypatch, recwarn, available, warns):
    monkeypatch.setattr(step_memory, "available_bytes", lambda: available)
    LearnedRule(replay=0).summary(cases.residual_cnn(), print_fn=str)
    assert bool(recwarn) == warns


def test_no_memory_is_warned_of_that_is_not_known(monkeypatch, recwarn):
    monkeypatch.setattr(step_memory, "available_bytes", lambda: 1)
    model, rule = fit_cases.network(), fit_cases.published_rule()
    assert "keeps" not in printed(model, rule)
    RuleBinding(model, rule)
    assert not recwarn


def test_memory_that_is_left_is_that_of_the_machine():
    available = step_memory.available_bytes()
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert available is None or total / 1000 < available <= total
