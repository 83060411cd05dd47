"""A meta-training run from start, or from where it was stopped, to end."""

import dataclasses
import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any

import gin

import keras_learned_rule.data.sources  # noqa: F401, for gin
from keras_learned_rule.hints import PathLike
from keras_learned_rule.meta.engine import make_engine
from keras_learned_rule.meta.estimators import PersistentES, TruncatedBackprop
from keras_learned_rule.meta.evaluate import Evaluator
from keras_learned_rule.meta.families import TaskFamily, load_families
from keras_learned_rule.meta.objective import ObjectiveSpec
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.meta.provenance import operative_config, provenance
from keras_learned_rule.meta.run import Intervals, Run
from keras_learned_rule.meta.run_folder import RunFolder
from keras_learned_rule.meta.schedule import Horizon
from keras_learned_rule.meta.settings import check_buckets, checked_settings
from keras_learned_rule.meta.start import starting_theta
from keras_learned_rule.meta.trainer import MetaTrainer
from keras_learned_rule.rule.spec import RuleSpec

compact_rule = gin.external_configurable(RuleSpec.compact, "compact_rule")
published_rule = gin.external_configurable(RuleSpec.published, "published_rule")

HELD_OUT_SEED = 0


@gin.configurable
def train(
    run_dir: PathLike,
    rule: RuleSpec = gin.REQUIRED,
    families: Sequence[TaskFamily] = gin.REQUIRED,
    updates: int = gin.REQUIRED,
    held_out: Sequence[TaskFamily] = (),
    horizon: Horizon | None = None,
    objective: ObjectiveSpec | None = None,
    estimator: TruncatedBackprop | PersistentES | None = None,
    learning_rate: float = 0.02,
    clip_norm: float = 1.0,
    buckets_a_update: int | None = None,
    remat: bool = True,
    vectorize: bool = False,
    scored: int | None = None,
    scales: Mapping[str, float] | None = None,
    frozen: Sequence[str] = (),
    evaluation_steps: int = 300,
    intervals: Intervals | None = None,
    max_skipped_updates: int = 100,
    start_from: PathLike | None = None,
    start_values: Mapping[str, Any] | None = None,
    tensorboard: bool = False,
    dry_run: bool = False,
    seed: int = 0,
) -> MetaTrainer | None:
    """Meta-trains a rule; the same call again continues a stopped run.

    The engine is `make_engine()`: the Keras backend decides the framework.

    Args:
        run_dir: Folder for log, checkpoints and theta files.
        rule: A `RuleSpec`.
        families: List of `TaskFamily` to meta-train on.
        updates: Number of meta-updates.
        held_out: List of `TaskFamily` of other classes or data sets: the theta that is best on
            them, by the mean accuracy over data sets, is kept. Their `tasks` is the number of
            tasks of each bucket.
        horizon: Lengths of inner loops and truncations. Defaults to `Horizon()`.
        objective: Defaults to `ObjectiveSpec()`.
        estimator: `PersistentES(...)`, or by default `TruncatedBackprop()`.
        learning_rate: Adam's at the start; falls to zero as a cosine.
        clip_norm: Largest norm of one task's meta-gradient.
        buckets_a_update: Buckets that a meta-update uses, drawn anew each time; None for all.
        remat: See `Problem`.
        vectorize: See `Problem`.
        scored: See `Problem`.
        scales: See `Problem`.
        frozen: Names of arrays of theta that are not learned, or patterns of names in the manner
            of files, such as `"merge/shallow/*"`. Defaults to `()`.
        evaluation_steps: Inner steps of the evaluations.
        intervals: Defaults to `Intervals()`.
        max_skipped_updates: The run ends as diverged after so many meta-updates in a row that
            left theta as it is, since no task had a finite meta-gradient other than zero. Looked
            at when the log is written. Defaults to `100`.
        start_from: Preset or theta file to start from, of the same rule or of one that knows less
            (see `starting_theta`). Defaults to `init_theta`.
        start_values: Dict from names of arrays of theta to what they start at instead: a number
            for all entries, or lists of numbers. Defaults to none.
        tensorboard: Whether to write TensorBoard files to run_dir/tensorboard.
        dry_run: Whether to print what would run, and stop there.
        seed: Non-negative integer, the seed of everything random.

    Returns:
        The finished, or interrupted, `MetaTrainer`; None of a dry run.

    Raises:
        ValueError: A setting is out of range, or run_dir holds a run with another configuration.
        OSError: run_dir cannot be written, or another run uses it.
        FloatingPointError: Meta-training has diverged. run_dir holds the best theta.

    Example:
    ```python
    import tempfile

    from keras_learned_rule.data.synthetic import gaussian_mixture
    from keras_learned_rule.meta.families import TaskFamily
    from keras_learned_rule.meta.networks import NetworkSpec
    from keras_learned_rule.meta.schedule import Horizon
    from keras_learned_rule.meta.train import train
    from keras_learned_rule.rule.spec import RuleSpec

    family = TaskFamily([(gaussian_mixture, 1.0)], NetworkSpec((8,)), buckets=1, ways=(3, 3))
    rule, horizon = RuleSpec.compact(terms=("competition",)), Horizon((5, 10), (2,))
    trainer = train(tempfile.mkdtemp(), rule, [family], updates=2, horizon=horizon)
    theta = trainer.theta_arrays()
    ```
    """
    settings = checked_settings(dict(locals()))
    # First of all: some strategies must be made before TensorFlow has computed anything.
    engine = None if settings.dry_run else make_engine()
    theta = starting_theta(settings.start_from, settings.rule, settings.seed, settings.start_values)
    problem = _problem(settings, theta)
    training, held_out = _loaded(settings)
    if settings.dry_run:
        from keras_learned_rule.meta.dry_run import describe

        how = settings.horizon, settings.updates, settings.buckets_a_update
        print(describe(problem, *training, held_out, *how))
        return None
    return _run(settings, engine, problem, theta, training, held_out)


def _problem(settings, theta):
    return Problem(
        rule=settings.rule,
        objective=settings.objective,
        estimator=settings.estimator,
        clip_norm=settings.clip_norm,
        remat=settings.remat,
        vectorize=settings.vectorize,
        scored=settings.scored,
        scales=settings.scales or {},
        frozen=_frozen(settings.frozen, theta),
    )


def _run(settings, engine, problem, theta, training, held_out):
    trainer = MetaTrainer(
        engine,
        problem,
        *training,
        theta,
        settings.updates,
        settings.learning_rate,
        settings.horizon,
        settings.buckets_a_update,
        settings.seed,
    )
    evaluator = Evaluator(engine, problem, *held_out, seed=HELD_OUT_SEED)
    config = {"settings": _plain(vars(settings)), "gin": gin.config_str()}
    origin = {**provenance(), "operative_config": operative_config()}
    folder = RunFolder(settings.run_dir, config, origin, engine.process)
    print(f"Meta-training on {engine.described}; at most {_programs(trainer)} programs", flush=True)
    Run(
        folder,
        trainer,
        evaluator,
        settings.evaluation_steps,
        settings.intervals,
        settings.updates,
        settings.max_skipped_updates,
        settings.tensorboard,
    ).go()
    return trainer


def _programs(trainer):
    return len(trainer.buckets) * len(trainer.horizon.truncations)


def _frozen(patterns, theta):
    matches = {pattern: fnmatch.filter(theta, pattern) for pattern in patterns}
    unknown = [pattern for pattern, names in matches.items() if not names]
    if unknown:
        raise ValueError(
            f"train.frozen must be names out of {list(theta)}, or patterns of them. "
            f"Received: unknown {unknown}"
        )
    return {name: theta[name] for names in matches.values() for name in names}


def _loaded(settings):
    """(buckets, pools) to meta-train on, and of the held-out tasks."""
    training, held_out = load_families(settings.families, settings.seed), ([], [])
    check_buckets(settings, len(training[0]))
    if settings.held_out:
        held_out = load_families(settings.held_out, HELD_OUT_SEED)
    wanted = settings.rule.output_width
    for bucket in training[0] + held_out[0]:
        width = bucket.spec.network.widths[-1]
        if wanted not in (None, width):
            raise ValueError(
                f"Networks must have embeddings of {wanted} units, the output_width of the rule. "
                f"Received: {width} units in bucket {bucket.name!r}"
            )
    return training, held_out


def _plain(value):
    """Settings as json-able values, but for where the run is kept and how it is watched."""
    if dataclasses.is_dataclass(value):
        return {type(value).__name__: _plain(vars(value))}
    if isinstance(value, dict):
        left_out = ("run_dir", "tensorboard", "dry_run")
        return {k: _plain(v) for k, v in value.items() if k not in left_out}
    if hasattr(value, "_asdict"):
        return value.name
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return getattr(value, "__name__", value)
