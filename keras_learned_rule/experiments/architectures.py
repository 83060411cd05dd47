"""Figure 5: depths, widths, embedding widths and activations that meta-training did not see."""

import functools
import itertools

import gin

from keras_learned_rule.experiments.cells import Group
from keras_learned_rule.experiments.figures import curves, percent
from keras_learned_rule.experiments.networks import BASE_WIDTHS, RuleTrainer, features
from keras_learned_rule.experiments.report import mean_and_error, table
from keras_learned_rule.experiments.scores import accuracy
from keras_learned_rule.experiments.tasks import TaskSource

TITLE = "Other architectures and activations (Figure 5)"
ABOUT = (
    "10-shot accuracy (ridge) over the inner loop. Depth counts hidden layers of 128 units below "
    "an embedding of 32; width is that of a single hidden layer, so that 10,000 units fit into "
    "memory (the decorrelation term makes a matrix of width x width), width of all four that of "
    "the base model's hidden layers; embeddings and activations are changed in the base model, as "
    "is batch norm."
)
ACTIVATIONS = (
    "relu",
    "leaky_relu",
    "elu",
    "swish",
    "gelu",
    "tanh",
    "sigmoid",
    "softplus",
    "sin",
    "step",
)


@gin.configurable
def architectures(
    setting,
    data="mnist14",
    seeds=3,
    depths=(0, 1, 2, 4, 6, 8, 10),
    widths=(16, 32, 64, 128, 256, 512, 1024, 2048, 4096),
    largest_width=10000,
    base_widths=(32, 64, 256, 512, 1024),
    embeddings=(8, 16, 64, 128),
    activations=ACTIVATIONS,
    marks=(0, 30, 100, 300),
    batch=128,
    tests=2000,
):
    """The groups of cells.

    Args:
        setting: `Setting`.
        data: name for `TaskSource`.
        seeds: int.
        depths: numbers of hidden layers of 128 units.
        widths: units of a single hidden layer.
        largest_width: one more width, of which a single network is trained; None for none.
        base_widths: units of each hidden layer of the base model.
        embeddings: widths of the embedding of the base model.
        activations: names for `base_model`.
        marks: numbers of inner steps after which to measure; the last is the length of the loop.
        batch: int, examples of a step.
        tests: int, test examples.

    Returns:
        A list of `Group`, one an architecture.
    """
    # What differs from the base model.
    networks = {
        **{f"depth/{n}": {"widths": (128,) * n + (32,)} for n in depths},
        **{f"width/{n}": {"widths": (n, 32)} for n in widths},
        **{f"width of all four/{n}": {"widths": (n,) * 4 + (32,)} for n in base_widths},
        **{f"embedding/{n}": {"widths": (128,) * 4 + (n,)} for n in embeddings},
        **{f"activation/{name}": {"activation": name} for name in activations},
        "activation/relu, no batch norm": {"batch_norm": False},
        # Last, since it takes longer than all others together.
        **({f"width/{largest_width}": {"widths": (largest_width, 32)}} if largest_width else {}),
    }
    base = {"widths": BASE_WIDTHS, "activation": "relu", "batch_norm": True}
    source = functools.cache(functools.partial(TaskSource, data, tests, setting.data_dir))
    measure = {"marks": tuple(marks), "batch": batch}
    return [
        Group(
            name,
            {
                "data": data,
                "tests": tests,
                **base,
                **network,
                **measure,
                **setting.rule_settings(),
            },
            range(1 if name == f"width/{largest_width}" else seeds),
            functools.partial(_prepare, source, setting.rule, {**base, **network}, **measure),
        )
        for name, network in networks.items()
    ]


groups = architectures


def _prepare(source, rule, network, marks, batch):
    source = source()
    trainer = RuleTrainer(rule, source.inputs, batch=batch, **network)

    def compute(seed):
        task = source.task(seed)
        trainer.restart(seed, marks[-1])
        cell = {}
        for first, last in itertools.pairwise((0, *marks)):
            trainer.train(task.x, first, last)
            embedded = features(trainer.network, task.x, task.x_test)
            cell[str(last)] = accuracy(embedded, task.y_test, seed)
        return cell

    return compute


def _by_step(cells):
    found = {}
    for cell in cells.values():
        for step, value in cell.items():
            found.setdefault(int(step), []).append(value)
    return found


def _kinds(results):
    kinds = {}
    for name, cells in results.items():
        kind, value = name.split("/")
        kinds.setdefault(kind, {})[value] = _by_step(cells)
    return kinds


def _gains(by_value):
    """How many of the networks are better at the end than at the start, and which are not."""
    worse = [
        value
        for value, points in by_value.items()
        if sum(points[max(points)]) <= sum(points[min(points)])
    ]
    better = f"better than random in {len(by_value) - len(worse)} of {len(by_value)}"
    return better + (f"; not with {', '.join(worse)}" if worse else "")


def findings(results):
    """Paper and ours, side by side."""
    kinds = _kinds(results)
    claims = {
        "depth": "The rule generalises to depths up to 11.",
        "width": "The rule generalises to widths up to 10,000.",
        "width of all four": "(widths of all four hidden layers)",
        "embedding": "(embedding widths: not in the figure)",
        "activation": "The rule works with activations never seen in meta-training, the step "
        "function included.",
    }
    return [
        [claim, f"{_gains(kinds[kind])} (to {', '.join(kinds[kind])})"]
        for kind, claim in claims.items()
        if kind in kinds
    ]


def tables(results):
    """Markdown: a table for each kind, accuracy over inner steps."""
    parts = []
    for kind, by_value in _kinds(results).items():
        steps = sorted({step for points in by_value.values() for step in points})
        body = [
            [value, *(mean_and_error(points.get(step, [])) for step in steps)]
            for value, points in by_value.items()
        ]
        header = ["random" if step == 0 else f"{step} steps" for step in steps]
        parts.append(table([kind, *header], body))
    return "\n\n".join(parts)


def draw(results, path):
    """The picture: before and after over sizes, and accuracy over steps by activation."""
    panels = {}
    for kind, by_value in _kinds(results).items():
        if kind == "activation":
            continue
        panels[kind] = {
            label: percent({int(v): points[pick(points)] for v, points in by_value.items()})
            for label, pick in (("random initialisation", min), ("learned rule", max))
        }
    activations = _kinds(results).get("activation", {})
    panels["activations, over inner steps"] = {
        value: percent(points) for value, points in activations.items()
    }
    curves(path, panels, "")
