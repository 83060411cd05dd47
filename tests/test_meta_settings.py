"""Every setting of a run is checked before anything is written, and named as gin files name it."""

import inspect
import types

import gin
import pytest
from absl.testing import flagsaver

from keras_learned_rule.configs import parse_gin
from keras_learned_rule.data.synthetic import gaussian_mixture
from keras_learned_rule.meta.settings import KINDS, check_buckets
from keras_learned_rule.meta.train import train
from keras_learned_rule.rule.spec import RuleSpec

# What each parameter of `train` may not be, as gin files write it.
WRONG = {
    "run_dir": ["3", "None", "''"],
    "rule": ["None", "'compact'", "@compact_rule", "@Horizon()"],
    "families": ["@TaskFamily()", "@TaskFamily", "[@TaskFamily]", "[3]", "[]", "None", "'glyphs'"],
    "updates": ["0", "-1", "1.5", "'many'", "None", "True", "2147483648"],
    "held_out": ["@TaskFamily()", "[3]", "None", "'glyphs'"],
    "horizon": ["20", "@Horizon", "(5, 10)", "@Intervals()"],
    "objective": ["'ridge'", "@ObjectiveSpec", "1"],
    "estimator": ["'es'", "@PersistentES", "@Horizon()", "0"],
    "learning_rate": ["'fast'", "None", "(0.1, 0.2)", "-0.02", "1e999", "True"],
    "clip_norm": ["None", "'1'", "0.0", "-1", "[1.0]"],
    "buckets_a_update": ["0", "-1", "1.5", "'all'", "3"],
    "remat": ["1", "None", "'yes'"],
    "vectorize": ["0", "None", "'no'"],
    "scored": ["0", "1.5", "'all'"],
    "scales": ["3", "['merge/step']", "{'step': 2.0}", "{'merge/step': 0}", "{'merge/step': 'a'}"],
    "frozen": ["'merge/*'", "[3]", "None", "['step']"],
    "evaluation_steps": ["0", "1.5", "None", "'a'"],
    "intervals": ["5", "@Intervals", "{'log': 3}"],
    "max_skipped_updates": ["0", "-1", "1.5", "None", "'never'"],
    "start_from": ["3", "True", "['compact']", "''"],
    "start_values": ["3", "'merge/step'", "{'step': 1.0}", "{'merge/step': 'a'}"],
    "tensorboard": ["1", "None", "'yes'"],
    "dry_run": ["1", "None", "'yes'"],
    "seed": ["None", "1.5", "'a'", "-1", "99999999999", "2147483647"],
}
GOOD = [
    "train.rule = @compact_rule()",
    "train.families = [@TaskFamily()]",
    "train.updates = 3",
    "TaskFamily.sources = [(@gaussian_mixture, 1.0)]",
    "TaskFamily.buckets = 2",
    "gaussian_mixture.classes = 10",
    "gaussian_mixture.examples = 2",
]
SOURCES_OF_VECTORS = (
    *("gaussian_mixture", "random_manifolds", "sparse_counts", "python_texts", "array_folder"),
    *("tabular", "curves", "gene_expression", "binary_features"),
)
# Of no effect there; every source takes them.
IGNORED = {(source, name) for source in SOURCES_OF_VECTORS for name in ("size", "channels")}
# What calls take beside the parameter that is wrong.
NEEDED = {
    **{"size": 8, "channels": 1, "sources": [(gaussian_mixture, 1.0)], "folder": "images"},
    **{"name": "mnist", "shapes": gaussian_mixture, "textures": gaussian_mixture},
}


def configurables():
    """What gin files of a run can set beside `train`: (name, what it makes, its parameters)."""
    for selector, configurable in gin.config._REGISTRY.items():
        made = configurable.wrapped
        home = getattr(made, "__module__", "")
        name = selector.rpartition(".")[2]
        if not home.startswith("keras_learned_rule") or ".experiments." in home or name == "train":
            continue
        fields = RuleSpec if name.endswith("_rule") else made
        yield name, made, list(inspect.signature(fields).parameters)


PARAMETERS = [
    pytest.param(name, made, parameter, id=f"{name}.{parameter}")
    for name, made, parameters in configurables()
    for parameter in parameters
    if (name, parameter) not in IGNORED
]


def refused(run_dir, *bindings):
    """The message of the error that a run with some bindings more than `GOOD` ends with."""
    parse_gin([], [*GOOD, *bindings])
    with pytest.raises(ValueError) as caught:
        train(**({} if any("run_dir" in b for b in bindings) else {"run_dir": str(run_dir)}))
    assert not run_dir.exists()
    return str(caught.value)


def test_every_parameter_has_a_check_and_is_tried():
    parameters = list(inspect.signature(train).parameters)
    assert list(KINDS) == parameters == list(WRONG)


@pytest.mark.parametrize("name, value", [(n, v) for n, values in WRONG.items() for v in values])
def test_wrong_settings_are_refused_and_named(tmp_path, name, value):
    message = refused(tmp_path / "run", f"train.{name} = {value}")
    assert f"{name} must be " in message and "Received: " in message


@pytest.mark.parametrize("name, made, parameter", PARAMETERS)
def test_every_parameter_of_what_a_run_makes_is_checked(name, made, parameter):
    needed = {n: NEEDED[n] for n in inspect.signature(made).parameters if n in NEEDED}
    owner = "RuleSpec" if name.endswith("_rule") else name
    with pytest.raises(ValueError, match=rf"^{owner}\.{parameter} must be .*Received: 1j"):
        made(**{**needed, parameter: 1j})


def test_parameters_were_found():
    names = {param.values[0] for param in PARAMETERS}
    assert {"TaskFamily", "Horizon", "compact_rule", "glyphs", "rotation", "make_engine"} <= names
    assert len(PARAMETERS) > 150


def test_what_depends_on_the_number_of_buckets():
    good = types.SimpleNamespace(seed=2**31 // 7 - 1, buckets_a_update=7)
    check_buckets(good, buckets=7)
    for name in vars(good):
        wrong = types.SimpleNamespace(**{**vars(good), name: getattr(good, name) + 1})
        with pytest.raises(ValueError, match=f"train.{name} must be .*Received: "):
            check_buckets(wrong, buckets=7)


@pytest.fixture
def exit_of(tmp_path):
    """What the command of meta-training prints at its end when one line of `GOOD` is another."""
    from keras_learned_rule import meta_train

    def run(line, other):
        file = tmp_path / "run.gin"
        file.write_text("\n".join(GOOD).replace(line, other))
        with flagsaver.flagsaver():
            meta_train.FLAGS(["meta_train", f"--gin_file={file}", f"--run_dir={tmp_path / 'run'}"])
            with pytest.raises(SystemExit) as caught:
                meta_train.main(["meta_train"])
        assert not (tmp_path / "run").exists()
        return str(caught.value)

    return run


@pytest.mark.parametrize(
    "line, other, said",
    [
        ("= 3", "= 'a'", "train.updates must be an integer"),
        ("train.updates = 3", "", "Required bindings for `train`"),
        ("@gaussian_mixture,", "@rotation,", "TaskFamily.sources must be"),
        ("@gaussian_mixture,", "@gaussian_mixture(),", "arguments: ['channels', 'size']"),
        ("TaskFamily.sources = [(@gaussian_mixture, 1.0)]", "", "arguments: ['sources']"),
        ("classes = 10", "classes = 1_000_000_000_000", "MemoryError: Unable to allocate"),
    ],
)
def test_the_command_ends_with_a_message_whatever_is_wrong(exit_of, line, other, said):
    assert said in exit_of(line, other)
