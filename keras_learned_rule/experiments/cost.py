"""What a step costs beside backprop, and accuracy against wall time."""

import functools
import multiprocessing
import time

import gin
import keras
import numpy as np
import tensorflow as tf

from keras_learned_rule.baselines.supervised_learner import SupervisedLearner
from keras_learned_rule.experiments.cells import Group
from keras_learned_rule.experiments.figures import curves, percent
from keras_learned_rule.experiments.methods import VaeTrainer
from keras_learned_rule.experiments.networks import Loop, RuleTrainer, base_model, features
from keras_learned_rule.experiments.report import mean_and_error, table
from keras_learned_rule.experiments.scores import accuracy, rounded
from keras_learned_rule.experiments.tasks import TITLES, TaskSource

TITLE = "Cost"
ABOUT = (
    "Seconds and peak memory of a step of the rule and of a step of Adam on cross entropy "
    "(backprop), for the same network and batch, each measured in a process of its own: seconds "
    "are the median of five loops, memory is what the process grew by, compilation included. "
    "Then 10-shot accuracy against wall time of training, without compilation. The rule's whole "
    "inner loop is planned for each length, since its step size falls over it. Figures depend on "
    "the machine and on what else it does: this one has 2 cores that others share."
)


@gin.configurable
def cost(
    setting,
    data="mnist14",
    seeds=3,
    widths=(128, 512, 2048),
    layers=4,
    batch=128,
    timed_steps=20,
    rule_steps=(10, 30, 100, 300, 1000),
    vae_marks=(30, 100, 300, 1000, 3000),
    supervised_steps=(25, 50, 100, 200),
    tests=2000,
):
    """The groups of cells.

    Args:
        setting: `Setting`.
        data: name for `TaskSource`.
        seeds: int.
        widths: units of the hidden layers whose steps are timed.
        layers: int, how many hidden layers.
        batch: int, examples of a step.
        timed_steps: int, steps of a loop that is timed.
        rule_steps, vae_marks: numbers of steps after which to measure accuracy.
        supervised_steps: the same, of supervised training; multiples of 25.
        tests: int, test examples.

    Returns:
        A list of `Group`.
    """
    timed = {"layers": layers, "batch": batch, "timed_steps": timed_steps}
    groups = [
        Group(
            f"step/{kind}/{width}",
            {**timed, **(setting.rule_settings() if kind == "rule" else {})},
            range(seeds),
            functools.partial(
                _prepare_step, setting.rule if kind == "rule" else None, width, **timed
            ),
        )
        for width in widths
        for kind in ("rule", "adam")
    ]
    source = functools.cache(functools.partial(TaskSource, data, tests, setting.data_dir))
    common = {"data": data, "batch": batch, "tests": tests}
    plans = {
        "rule": (
            functools.partial(_time_rule, setting.rule, rule_steps, batch),
            {"steps": rule_steps, **setting.rule_settings()},
        ),
        "vae": (functools.partial(_time_vae, vae_marks, batch), {"steps": vae_marks}),
        "supervised": (
            functools.partial(_time_supervised, supervised_steps),
            {"steps": supervised_steps, "statistics": "labelled"},
        ),
    }
    return groups + [
        Group(
            f"time/{data}/{name}",
            {**common, **settings},
            range(seeds),
            functools.partial(_prepare_time, plan, source),
        )
        for name, (plan, settings) in plans.items()
    ]


groups = cost


def _prepare_step(rule, width, layers, batch, timed_steps):
    # A process of its own: peak memory only ever grows.
    context = multiprocessing.get_context("spawn")

    def compute(seed):
        with context.Pool(1) as pool:
            return pool.apply(measure_step, (rule, width, layers, batch, timed_steps, seed))

    return compute


def measure_step(rule, width, layers, batch, steps, seed, inputs=196):
    """Times steps of one network in this process.

    Args:
        rule: `UpdateRule`, or None for Adam on cross entropy.
        width, layers: units and number of hidden layers, below an embedding of 32.
        batch: int.
        steps: int, steps of each of six loops, of which the first is not timed.
        seed: int.
        inputs: int. Defaults to `196`.

    Returns:
        A dict: "seconds", median of a step, and "megabytes", growth of the process's peak memory.
    """
    import resource

    rng = np.random.default_rng(seed)
    x = rng.random((10 * batch, inputs), dtype=np.float32)
    widths = (width,) * layers + (32,)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if rule is None:
        run = _adam_loop(inputs, widths, batch)
    else:
        trainer = RuleTrainer(rule, inputs, widths, batch=batch)
        trainer.restart(seed, 6 * steps)
        run = trainer.train
    seconds = []
    for loop in range(6):
        start = time.perf_counter()
        run(x, loop * steps, (loop + 1) * steps)
        seconds.append((time.perf_counter() - start) / steps)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"seconds": rounded(np.median(seconds[1:]), 5), "megabytes": round(grown / 1024)}


def _adam_loop(inputs, widths, batch):
    body = base_model(inputs, widths)
    head = keras.layers.Dense(10)
    head.build((None, widths[-1]))
    optimizer = keras.optimizers.Adam(1e-3)
    variables = [*body.trainable_variables, *head.trainable_variables]
    optimizer.build(variables)

    def step(x):
        with tf.GradientTape() as tape:
            scores = head(body(x, training=True))
            labels = tf.argmax(x[:, :10], axis=1)
            losses = keras.ops.sparse_categorical_crossentropy(labels, scores, from_logits=True)
            loss = tf.reduce_mean(losses)
        optimizer.apply(tape.gradient(loss, variables), variables)

    loop = Loop(step, batch)
    return lambda x, first, last: loop(x, first, last, seed=0)


def _prepare_time(plan, source):
    source = source()
    run = plan(source)
    run(0)  # Compiles.
    return run


def _time_rule(rule, marks, batch, source):
    trainer = RuleTrainer(rule, source.inputs, batch=batch)

    def compute(seed):
        task, cell = source.task(seed), []
        for steps in marks:
            trainer.restart(seed, steps)
            begun = time.perf_counter()
            trainer.train(task.x, 0, steps)
            seconds = rounded(time.perf_counter() - begun)
            embedded = features(trainer.network, task.x, task.x_test)
            cell.append([steps, seconds, accuracy(embedded, task.y_test, seed)])
        return cell

    return compute


def _time_vae(marks, batch, source):
    trainer = VaeTrainer(source, batch)

    def compute(seed):
        y = source.task(seed).y_test
        return [
            [step, rounded(trainer.seconds), accuracy(embedded, y, seed)]
            for step, _, embedded in trainer.marks(seed, marks)
        ]

    return compute


def _time_supervised(marks, source):
    task = source.task(0)
    classes = len(np.unique(task.y_test))
    learner = SupervisedLearner(base_model(source.inputs), task.x_test, classes, 1, 3e-3)

    def compute(seed):
        task, cell = source.task(seed), []
        start = base_model(source.inputs, seed=seed)
        for steps in marks:
            begun = time.perf_counter()
            result = learner.accuracy(start, task.x_test, task.y_test, seed=seed, steps=steps)
            cell.append([steps, rounded(time.perf_counter() - begun), rounded(result.mean)])
        return cell

    return compute


def _steps(results):
    """Mean seconds and megabytes of a step, by width and kind."""
    found = {}
    for name, cells in results.items():
        what, kind, width = name.split("/")
        if what == "step":
            found.setdefault(int(width), {})[kind] = [
                np.mean([cell[key] for cell in cells.values()]) for key in ("seconds", "megabytes")
            ]
    return found


def _times(results):
    """Rows (steps, mean seconds, accuracies) by method."""
    found = {}
    for name, cells in results.items():
        what, _, method = name.split("/")
        if what == "time":
            rows = zip(*cells.values(), strict=True)
            found[method] = [
                (row[0][0], float(np.mean([cell[1] for cell in row])), [cell[2] for cell in row])
                for row in rows
            ]
    return found


def findings(results):
    """Paper and ours, side by side."""
    ratios = {
        width: kinds["rule"][0] / kinds["adam"][0] for width, kinds in _steps(results).items()
    }
    shown = ", ".join(f"{ratio:.1f} at width {width:,}" for width, ratio in ratios.items())
    return [
        ["(not measured)", f"A step of the rule takes as long as a step of Adam times {shown}."]
    ]


def tables(results):
    """Markdown: a step, and accuracy over seconds."""
    steps = [
        [
            f"{width:,}",
            *(f"{1000 * kinds[kind][0]:.1f}" for kind in ("rule", "adam")),
            *(f"{kinds[kind][1]:.0f}" for kind in ("rule", "adam")),
        ]
        for width, kinds in _steps(results).items()
    ]
    header = ["width", "rule, ms", "Adam, ms", "rule, MB", "Adam, MB"]
    times = [
        [method, f"{count:,}", f"{seconds:.2f}", mean_and_error(values)]
        for method, rows in _times(results).items()
        for count, seconds, values in rows
    ]
    return "\n\n".join(
        [table(header, steps), table(["method", "steps", "seconds", "10-shot accuracy"], times)]
    )


def draw(results, path):
    """The picture: accuracy over seconds."""
    data = next(name.split("/")[1] for name in results if name.startswith("time/"))
    lines = {
        method: percent({seconds: values for _, seconds, values in rows})
        for method, rows in _times(results).items()
    }
    curves(path, {TITLES[data]: lines}, "seconds of training")
