"""Figure 2, right: what permuted inputs do to a meta-learned network, and to a rule."""

import functools

import gin
import keras
import numpy as np
import tensorflow as tf

from keras_learned_rule.baselines.prototypical import PrototypicalNetwork
from keras_learned_rule.data.tfds_images import tfds_image_set
from keras_learned_rule.experiments.cells import Group
from keras_learned_rule.experiments.figures import curves, percent
from keras_learned_rule.experiments.networks import RuleTrainer, base_model, features
from keras_learned_rule.experiments.report import mean_and_error, table
from keras_learned_rule.experiments.scores import accuracy
from keras_learned_rule.experiments.tasks import IMAGES, TITLES, WAYS, TaskSource

TITLE = "Permuted inputs: a meta-learned network and a rule (Figure 2, right)"
ABOUT = (
    "A prototypical network (the base model as encoder) is meta-trained by backprop on 10-way, "
    "5-shot episodes of Tiny-ImageNet classes, with the pixels in their order or in a new order "
    "each episode. 10-shot accuracy (ridge) on classes it has not seen, with pixels in their "
    "order and in one new order a seed."
)
METHODS = {
    "random": "random initialisation",
    "prototypical": "prototypical network",
    "prototypical_permuted": "prototypical network, pixels permuted in meta-training",
    "rule": "learned rule",
}
_SHOTS, _QUERIES = 5, 10


@gin.configurable
def permuted_features(
    setting,
    training="tiny16",
    data_sets=("tiny16", "cifar16"),
    seeds=5,
    steps=3000,
    rule_steps=300,
    batch=128,
    tests=2000,
):
    """The groups of cells.

    Args:
        setting: `Setting`.
        training: what the prototypical network is meta-trained on: "tiny16", the training classes
            of Tiny-ImageNet, or the data set of `data_sets` itself.
        data_sets: names for `TaskSource`, all with as many inputs as `training`.
        seeds: int.
        steps: int, episodes of meta-training.
        rule_steps: int, inner steps of the rule.
        batch: int, examples of such a step.
        tests: int, test examples.

    Returns:
        A list of `Group`, one a method.
    """
    common = {"data_sets": tuple(data_sets), "tests": tests}
    meta = {"training": training, "steps": steps}
    inner = {"rule_steps": rule_steps, "batch": batch}
    sources = functools.cache(
        lambda: {name: TaskSource(name, tests, setting.data_dir) for name in data_sets}
    )
    learned = functools.partial(_prototypical, data_dir=setting.data_dir, **meta)
    plans = {
        "random": (_random, {}),
        "prototypical": (functools.partial(learned, permute=False), meta),
        "prototypical_permuted": (functools.partial(learned, permute=True), meta),
        "rule": (
            functools.partial(_rule, rule=setting.rule, steps=rule_steps, batch=batch),
            {**inner, **setting.rule_settings()},
        ),
    }
    return [
        Group(
            name, {**common, **settings}, range(seeds), functools.partial(_prepare, plan, sources)
        )
        for name, (plan, settings) in plans.items()
    ]


groups = permuted_features


def _prepare(plan, sources, **options):
    embed = plan(sources(), **options)

    def compute(seed):
        cell = {}
        for name, source in sources().items():
            task = source.task(seed)
            order = np.random.default_rng(seed).permutation(source.inputs)
            permuted = task._replace(x=task.x[:, order], x_test=task.x_test[:, order])
            for title, shown in ((name, task), (f"{name} permuted", permuted)):
                cell[title] = accuracy(embed(seed, shown), task.y_test, seed)
        return cell

    return compute


def _inputs(sources):
    return next(iter(sources.values())).inputs


def _random(sources):
    return lambda seed, task: features(base_model(_inputs(sources), seed=seed), task.x, task.x_test)


def _rule(sources, rule, steps, batch):
    trainer = RuleTrainer(rule, _inputs(sources), batch=batch)

    def embed(seed, task):
        trainer.restart(seed, steps)
        trainer.train(task.x, 0, steps)
        return features(trainer.network, task.x, task.x_test)

    return embed


def _prototypical(sources, training, steps, permute, data_dir):
    x, y = _meta_training_images(training, data_dir)
    # Meta-training is of a seed, not of a task, and serves all its tasks.
    trained = functools.lru_cache(1)(lambda seed: meta_trained(x, y, steps, permute, seed))
    return lambda seed, task: features(trained(seed), task.x, task.x_test)


def _meta_training_images(name, data_dir):
    if name == "tiny16":
        data, size, channels = IMAGES[name]
        images = tfds_image_set(size, channels, data, "train", data_dir)
        return images.images.reshape(len(images.labels), -1).astype("float32") / 255, images.labels
    data = TaskSource(name, data_dir=data_dir).task(0)
    return data.x_test, data.y_test


def meta_trained(x, y, steps, permute, seed, ways=WAYS):
    """Meta-trains the base model as a prototypical network.

    Args:
        x: float32 `[n, inputs]`.
        y: int `[n]`, from 0, at least 15 of each class.
        steps: int, episodes.
        permute: bool, whether each episode has an order of inputs of its own.
        seed: int.
        ways: int, classes of an episode. Defaults to `10`.

    Returns:
        The encoder, a `keras.Sequential`.

    Example:
    ```python
    import numpy as np
    from keras_learned_rule.experiments.permuted_features import meta_trained

    y = np.repeat(np.arange(3), 20)
    encoder = meta_trained(np.eye(3, dtype="float32")[y], y, 3, permute=True, seed=0, ways=2)
    assert encoder.output_shape == (None, 32)
    ```
    """
    encoder = base_model(x.shape[1], seed=seed)
    network = PrototypicalNetwork(encoder, _SHOTS)
    network.compile(keras.optimizers.Adam(1e-3))
    network.optimizer.build(encoder.trainable_variables)
    least = np.bincount(y).min()
    table = tf.constant([np.flatnonzero(y == label)[:least] for label in np.unique(y)])
    images = tf.constant(x)

    @tf.autograph.experimental.do_not_convert
    def train(step):
        network.train_step(_episode(images, table, ways, permute, tf.stack([seed, step])))

    @tf.function
    def run():
        for step in tf.range(steps):
            train(step)

    run()
    return encoder


def _episode(images, table, ways, permute, seed):
    """One episode `[1, ways, examples, inputs]`, a function of its seed."""
    class_seed, example_seed, order_seed = tf.unstack(tf.random.split(seed, 3))
    classes, members = table.shape
    drawn = tf.random.experimental.stateless_shuffle(tf.range(classes), class_seed)[:ways]
    chances = tf.random.stateless_uniform((ways, members), example_seed)
    places = tf.argsort(chances, axis=1)[:, : _SHOTS + _QUERIES]
    episode = tf.gather(images, tf.gather(tf.gather(table, drawn), places, batch_dims=1))
    if permute:
        order = tf.random.experimental.stateless_shuffle(tf.range(images.shape[1]), order_seed)
        episode = tf.gather(episode, order, axis=2)
    return episode[None]


def _by_data(results, method):
    found = {}
    for cell in results.get(method, {}).values():
        for name, value in cell.items():
            found.setdefault(name, []).append(value)
    return found


def _title(name):
    data = name.removesuffix(" permuted")
    return TITLES[data] + name.removeprefix(data).replace(" permuted", ", permuted")


def findings(results):
    """Paper and ours, side by side."""
    scores = {method: _by_data(results, method) for method in METHODS}
    names = list(next(by_data for by_data in scores.values() if by_data))

    def compare(method, permuted):
        shown = [name for name in names if name.endswith(" permuted") == permuted]
        return "<br>".join(
            f"{_title(name)}: {mean_and_error(scores[method].get(name, []))}, rule "
            f"{mean_and_error(scores['rule'].get(name, []))}, random "
            f"{mean_and_error(scores['random'].get(name, []))}"
            for name in shown
        )

    return [
        [
            "A prototypical network depends on the order of the inputs that it was meta-trained "
            "with.",
            f"{compare('prototypical', False)}<br>{compare('prototypical', True)}",
        ],
        [
            "With inputs permuted in meta-training it has nothing to hold on to; the rule does not "
            "depend on their order.",
            compare("prototypical_permuted", True),
        ],
    ]


def tables(results):
    """Markdown: accuracy by method and data."""
    scores = {method: _by_data(results, method) for method in METHODS if method in results}
    names = list(next(iter(scores.values())))
    body = [
        [METHODS[method], *(mean_and_error(by_data[name]) for name in names)]
        for method, by_data in scores.items()
    ]
    return table(["10 labels a class", *map(_title, names)], body)


def draw(results, path):
    """The picture: each method in and out of order."""
    panels = {}
    for data in dict.fromkeys(n.removesuffix(" permuted") for n in _by_data(results, "rule")):
        panels[TITLES[data]] = {
            METHODS[method]: percent({0: found[data], 1: found[f"{data} permuted"]})
            for method in METHODS
            if (found := _by_data(results, method))
        }
    curves(path, panels, "pixels in order (0), permuted (1)")
