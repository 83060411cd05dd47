"""Records of the log, against NumPy; the trainer is only asked for what it would be asked."""

import functools
import itertools
import json
import types

import meta_cases
import numpy as np
import pytest

from keras_learned_rule.meta.families import Bucket
from keras_learned_rule.meta.meta_step import TaskResult
from keras_learned_rule.meta.metrics import POSITION_EDGES, Window, merge_parameters
from keras_learned_rule.meta.pool import Sources
from keras_learned_rule.meta.trainer import BucketResult
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta

POOLS = [Sources(("cats", "dogs"), (3, 3), None), Sources(("glyphs",), (9,), None)]
BUCKETS = [Bucket(None, 0, 6, "pets"), Bucket(None, 1, 4, "letters")]


def trainer(rule=meta_cases.RULE):
    return types.SimpleNamespace(
        engine=meta_cases.engine(),
        buckets=BUCKETS,
        sources=POOLS,
        problem=meta_cases.problem(clip_norm=0.5),
        skipped_updates=3,
        theta_arrays=functools.partial(init_theta, rule),
    )


def result(bucket, truncation, seed):
    """Random results of the tasks of a bucket, all finite."""
    rng, tasks = np.random.default_rng(seed), BUCKETS[bucket].tasks
    return BucketResult(
        bucket,
        truncation,
        TaskResult(
            losses=rng.random((tasks, truncation), "float32"),
            accuracies=rng.random((tasks, truncation), "float32"),
            norm=rng.random(tasks, "float32"),
            position=rng.integers(0, 400, tasks).astype("int32"),
            source=rng.integers(0, len(POOLS[bucket].names), tasks).astype("int32"),
            diverged=rng.random(tasks) < 0.3,
        ),
    )


def record(*updates):
    """The record of updates, each a list of results."""
    run = trainer()
    window = Window(run)
    for results in updates:
        window.add([r._replace(results=run.engine.spread(r.results)) for r in results])
    assert window.updates == len(updates)
    expected = sum(r.truncation * BUCKETS[r.bucket].tasks for u in updates for r in u)
    assert window.inner_steps == expected
    made = window.record()
    assert window.updates == window.inner_steps == 0
    return json.loads(json.dumps(made, allow_nan=False))


UPDATES = [[result(0, 5, seed=0), result(1, 5, seed=1)], [result(0, 20, seed=2)]]


def steps(updates=UPDATES):
    """One (loss, accuracy, position, data set) for each inner step of each task."""
    for r in (r for update in updates for r in update):
        for losses, accuracies, position, source in zip(
            r.results.losses,
            r.results.accuracies,
            r.results.position,
            r.results.source,
            strict=True,
        ):
            name = POOLS[BUCKETS[r.bucket].pool].names[source]
            for k, (loss, accuracy) in enumerate(zip(losses, accuracies, strict=True)):
                yield loss, accuracy, position + k, name


def assert_means(entry, rows):
    loss, accuracy = np.mean([row[:2] for row in rows], axis=0)
    assert entry["meta_loss"] == pytest.approx(loss, rel=1e-5)
    assert entry["accuracy"] == pytest.approx(accuracy, rel=1e-5)


def test_means_over_steps_data_sets_and_positions():
    made, rows = record(*UPDATES), list(steps())
    assert_means(made, rows)
    assert set(made["by_data"]) == {"cats", "dogs", "glyphs"}
    for name, entry in made["by_data"].items():
        assert_means(entry, [row for row in rows if row[3] == name])
    edges, seen = [*POSITION_EDGES, np.inf], set()
    for low, high in itertools.pairwise(edges):
        inside = [row for row in rows if low <= row[2] < high]
        if inside:
            seen.add(str(low))
            assert_means(made["by_position"][str(low)], inside)
    assert set(made["by_position"]) == seen and len(seen) >= 4


def test_counts_are_of_tasks():
    made = record(*UPDATES)
    results = [r.results for update in UPDATES for r in update]
    norms = np.concatenate([r.norm for r in results])
    assert len(norms) == 16
    assert made["gradient_norm"] == pytest.approx(norms.mean(), rel=1e-5)
    assert made["clipped"] == pytest.approx(np.mean(norms > 0.5))
    assert made["restarted"] == pytest.approx(
        np.mean(np.concatenate([r.diverged for r in results]))
    )
    assert made["skipped_updates"] == 3
    assert made["skipped"] == 0 and made["inner_steps"] == pytest.approx(30 / 3)


def test_what_is_not_finite_is_counted_and_left_out():
    good = result(0, 5, seed=3)
    arrays = {name: a.copy() for name, a in good.results._asdict().items()}
    arrays["norm"][[1, 4]] = np.nan, np.inf
    arrays["losses"][1] = np.nan
    arrays["losses"][4, 3:] = np.inf
    bad = good._replace(results=TaskResult(**arrays))
    made = record([bad])
    assert made["skipped"] == pytest.approx(2 / 6)
    assert made["gradient_norm"] == pytest.approx(
        np.delete(arrays["norm"], [1, 4]).mean(), rel=1e-5
    )
    assert_means(made, [row for row in steps([[bad]]) if np.isfinite(row[0])])
    arrays["norm"][:], arrays["losses"][:] = np.nan, np.nan
    nothing = record([good._replace(results=TaskResult(**arrays))])
    assert nothing["skipped"] == 1 and nothing["meta_loss"] is None and nothing["clipped"] == 0


@pytest.mark.parametrize(
    "rule",
    [
        RuleSpec.compact(),
        RuleSpec.compact(groups=1),
        RuleSpec.compact(terms=("competition", "hebb_z")),
        RuleSpec.published(),
    ],
    ids=["compact", "one group", "few terms", "published"],
)
def test_each_merge_parameter_has_a_name(rule):
    theta = init_theta(rule)
    merge = {name: a for name, a in theta.items() if name.startswith("merge/")}
    unique = np.random.default_rng(0).permutation(sum(a.size for a in merge.values())).astype(float)
    parts = np.split(unique, np.cumsum([a.size for a in merge.values()])[:-1])
    theta |= {
        name: part.reshape(a.shape) for (name, a), part in zip(merge.items(), parts, strict=True)
    }
    named = merge_parameters(rule, theta)
    assert sorted(named.values()) == sorted(unique)
    if rule.merge == "compact":
        group = "all" if rule.groups == 1 else "first"
        coefficients = theta["merge/coefficients"]
        for i, term in enumerate(rule.terms):
            assert named[f"coefficients/{group}/{term}"] == coefficients[0, i]
