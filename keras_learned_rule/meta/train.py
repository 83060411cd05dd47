"""A meta-training run from start, or from where it was stopped, to end."""

import contextlib
import dataclasses
import signal
import time

import gin
import keras
import numpy as np
import tensorflow as tf

from keras_learned_rule.data.augment import AugmentRanges
from keras_learned_rule.data.glyphs import glyph_set
from keras_learned_rule.meta.engine import Problem
from keras_learned_rule.meta.evaluate import Evaluator
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.objective import ObjectiveSpec
from keras_learned_rule.meta.run_folder import RunFolder
from keras_learned_rule.meta.tasks import TaskSpec
from keras_learned_rule.meta.trainer import MetaTrainer
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta

gin.external_configurable(AugmentRanges)
gin.external_configurable(TaskSpec)
gin.external_configurable(NetworkSpec)
gin.external_configurable(ObjectiveSpec)
compact_rule = gin.external_configurable(RuleSpec.compact, "compact_rule")
published_rule = gin.external_configurable(RuleSpec.published, "published_rule")

LOG_EVERY = 10
SHOWN, SHOWN_LAST = ("meta_loss", "accuracy", "gradient_norm"), ("held_out_accuracy",)


@gin.configurable
def train(
    run_dir,
    rule=gin.REQUIRED,
    tasks=gin.REQUIRED,
    updates=gin.REQUIRED,
    objective=ObjectiveSpec(),
    lengths=(30, 300),
    truncations=(20,),
    learning_rate=0.02,
    clip_norm=1.0,
    font_folders=(),
    held_out_fraction=0.2,
    evaluate_every=200,
    evaluation_tasks=8,
    evaluation_steps=200,
    checkpoint_every=50,
    seed=0,
):
    """Meta-trains a rule on rendered glyphs; the same call again continues a stopped run.

    Args:
        run_dir: Folder for log, checkpoints and theta files.
        rule: A `RuleSpec`.
        tasks: List of `TaskSpec`, one for each task of the meta-batch.
        updates: Number of meta-updates.
        objective: An `ObjectiveSpec`.
        lengths: (shortest, longest) inner loop N, which is log-uniform between them.
        truncations: Numbers K of inner steps between meta-updates; each update draws one.
        learning_rate: Adam's at the start; falls to zero as a cosine.
        clip_norm: Largest norm of one task's meta-gradient.
        font_folders: Folders with more fonts.
        held_out_fraction: Share of the characters held out to choose the best theta, and the
            same share again held out of that choice as well.
        evaluate_every: Meta-updates between evaluations on held-out characters.
        evaluation_tasks: Held-out tasks of each kind.
        evaluation_steps: Inner steps of an evaluation.
        checkpoint_every: Meta-updates between checkpoints.
        seed: Integer seed of everything random.

    Returns:
        The finished, or interrupted, `MetaTrainer`.

    Raises:
        ValueError: A setting is out of range, or run_dir holds a run with another configuration.
        RuntimeError: Keras runs on another backend than TensorFlow.

    Example:

    ```python
    import tempfile

    from keras_learned_rule.meta.networks import NetworkSpec
    from keras_learned_rule.meta.tasks import TaskSpec
    from keras_learned_rule.meta.train import train
    from keras_learned_rule.rule.spec import RuleSpec

    task = TaskSpec(NetworkSpec((16, 8)), side=8, ways=3, batch=16)
    trainer = train(
        tempfile.mkdtemp(), RuleSpec.compact(), [task], updates=2, lengths=(5, 10),
        truncations=(3,), evaluation_tasks=1, evaluation_steps=5,
    )
    theta = trainer.theta_arrays()
    ```
    """
    config = _plain(dict(locals()))
    _check(tasks, lengths, truncations, held_out_fraction)
    glyphs = glyph_set(font_folders=font_folders)
    training, choosing = (glyphs.part(p, held_out_fraction) for p in ("train", "choose"))
    problem = make_problem(training, rule, objective, tasks, lengths, clip_norm)
    held_out = make_problem(choosing, rule, objective, tasks, lengths, clip_norm)
    trainer = MetaTrainer(
        problem, init_theta(rule, seed), updates, learning_rate, truncations, seed
    )
    folder = RunFolder(run_dir, config)
    if folder.restore(trainer):
        print(f"Continuing {run_dir} after {trainer.updates_done} meta-updates", flush=True)
    evaluator = Evaluator(held_out, evaluation_tasks, evaluation_steps)
    _loop(folder, trainer, evaluator, updates, evaluate_every, checkpoint_every)
    return trainer


def _check(tasks, lengths, truncations, held_out_fraction):
    if keras.config.backend() != "tensorflow":
        raise RuntimeError(
            "Meta-training runs on the Keras backend 'tensorflow'; set KERAS_BACKEND=tensorflow. "
            f"Received: backend={keras.config.backend()!r}"
        )
    if not tasks:
        raise ValueError("tasks must hold at least one TaskSpec. Received: none")
    if not 1 <= lengths[0] <= lengths[1]:
        raise ValueError(f"lengths must be (shortest, longest), from 1. Received: {lengths}")
    if not truncations or min(truncations) < 1:
        raise ValueError(f"truncations must be numbers of at least 1. Received: {truncations}")
    if not 0 < held_out_fraction < 0.5:
        raise ValueError(
            "held_out_fraction is taken twice and must be between 0 and 0.5. "
            f"Received: {held_out_fraction}"
        )


def make_problem(glyphs, rule, objective, tasks, lengths=(1, 1), clip_norm=1.0):
    """The `Problem` of learning, or of scoring, a rule on an `ImageSet` of glyphs.

    Raises:
        ValueError: A task wants more classes than there are characters.
    """
    ways = max(task.ways for task in tasks)
    if ways > len(glyphs.class_names):
        raise ValueError(
            f"ways must be at most the number of characters in each part of the data, here "
            f"{len(glyphs.class_names)}. Received: ways={ways}"
        )
    return Problem(
        rule=rule,
        objective=objective,
        tasks=list(tasks),
        images=tf.constant(glyphs.images[..., 0]),
        class_table=tf.constant(glyphs.class_table()),
        lengths=tuple(lengths),
        clip_norm=clip_norm,
    )


def _loop(folder, trainer, evaluator, updates, evaluate_every, checkpoint_every):
    first, records = trainer.updates_done, folder.records()
    began = time.time() - max((r.get("seconds", 0.0) for r in records), default=0.0)
    bar = keras.utils.Progbar(updates - first, stateful_metrics=SHOWN_LAST, unit_name="update")
    if not records:
        _evaluate(folder, trainer, evaluator)
        folder.checkpoint(trainer)
    with _stop_signals() as stopped:
        while trainer.updates_done < updates and not stopped:
            logs = trainer.update()
            done = trainer.updates_done
            if done % LOG_EVERY == 0:
                folder.log({"update": done, "seconds": round(time.time() - began, 1), **logs})
            shown = {name: logs[name] for name in SHOWN}
            if done % evaluate_every == 0 or done == updates:
                shown["held_out_accuracy"] = _evaluate(folder, trainer, evaluator)
            if done % checkpoint_every == 0 or done == updates or stopped:
                folder.checkpoint(trainer)
            bar.update(done - first, list(shown.items()))
    print(f"\n{_ending(trainer.updates_done, updates)}")


def _ending(done, updates):
    if done < updates:
        return f"Stopped after {done} meta-updates; the same command continues."
    return f"All {updates} meta-updates are done; last.safetensors and best.safetensors hold theta."


def _evaluate(folder, trainer, evaluator):
    """Scores theta on held-out characters, and keeps it if none before scored better."""
    accuracies = evaluator(trainer.theta_arrays())
    accuracy = float(np.mean(accuracies))
    if accuracy > max((r.get("held_out_accuracy", 0.0) for r in folder.records()), default=0.0):
        folder.save_rule("best", trainer, held_out_accuracy=accuracy)
    # Logged last: a run killed before this line evaluates again.
    folder.log(
        {
            "update": trainer.updates_done,
            "held_out_accuracy": accuracy,
            "held_out_by_task": accuracies.mean(axis=1).round(4).tolist(),
        }
    )
    return accuracy


@contextlib.contextmanager
def _stop_signals():
    """Yields a list that is empty until SIGINT or SIGTERM asks to stop."""
    received = []
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for s in before:
        signal.signal(s, lambda number, frame: received.append(number))
    try:
        yield received
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


def _plain(value):
    """Settings as json-able values."""
    if dataclasses.is_dataclass(value):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items() if k != "run_dir"}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return value
