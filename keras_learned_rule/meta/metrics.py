"""Turns what tasks report into records for the log."""

import numpy as np

# Lowest inner steps of the bins by which losses and accuracies are logged.
POSITION_EDGES = np.array([0, 10, 30, 100, 300, 1000, 3000])
GROUPS = {1: ("all",), 3: ("first", "middle", "last")}


class Window:
    """Collects the results of meta-updates until they are logged.

    Nothing is fetched from the devices before `record`.

    Args:
        trainer: A `MetaTrainer`.

    Attributes:
        updates: Meta-updates since the last record.
    """

    def __init__(self, trainer):
        self._trainer, self._results, self.updates = trainer, [], 0

    def add(self, results):
        """Takes the results of one meta-update, a list of `BucketResult`."""
        self._results += results
        self.updates += 1

    @property
    def inner_steps(self):
        """Inner steps of all tasks since the last record, those of other processes included."""
        return sum(r.truncation * self._trainer.buckets[r.bucket].tasks for r in self._results)

    def record(self):
        """The means since the last call, which it forgets.

        Returns:
            A json-able dict: "meta_loss" and "accuracy" of the tasks whose numbers are finite,
            "gradient_norm" (mean before clipping), "clipped" and "skipped" (shares of tasks whose
            gradient was above the limit, and not finite), "skipped_updates" (number of the latest
            updates that moved nothing), "restarted" (share of inner loops that had diverged),
            "inner_steps" (mean K), "by_data" and "by_position" (loss and accuracy
            by data set, and by the first inner step of a bin), "merge" (the rule's merge
            parameters by name).
        """
        tasks = [self._fetched(result) for result in self._results]
        steps = {key: np.concatenate([t[key] for t in tasks]) for key in tasks[0]}
        truncations = [r.truncation for r in self._results]
        self._results, self.updates = [], 0
        first = steps["first"]
        norms, restarted = steps["norm"][first], steps["diverged"][first]
        finite = np.isfinite(norms)
        kept = norms[finite] if finite.any() else np.zeros(1)
        return {
            **_means(steps, np.ones(len(first), bool)),
            "gradient_norm": float(kept.mean()),
            "clipped": float(np.mean(kept > self._trainer.problem.clip_norm)),
            "skipped": float(1.0 - finite.mean()),
            "skipped_updates": self._trainer.skipped_updates,
            "restarted": float(restarted.mean()),
            "inner_steps": float(np.mean(truncations)),
            "by_data": _by(steps, "name"),
            "by_position": _by(steps, "bin"),
            "merge": merge_parameters(self._trainer.problem.rule, self._trainer.theta_arrays()),
        }

    def _fetched(self, result):
        """One row for each inner step of each task."""
        r = self._trainer.engine.fetch_spread(result.results)
        names = np.array(self._trainer.sources[self._trainer.buckets[result.bucket].pool].names)
        count, steps = r.losses.shape
        position = r.position[:, None] + np.arange(steps)
        each = {"norm": r.norm, "diverged": r.diverged, "name": names[r.source]}
        return {
            "meta_loss": r.losses.ravel(),
            "accuracy": r.accuracies.ravel(),
            "bin": POSITION_EDGES[np.searchsorted(POSITION_EDGES, position.ravel(), "right") - 1],
            "first": np.tile(np.arange(steps) == 0, count),
            **{key: np.repeat(value, steps) for key, value in each.items()},
        }


def _by(steps, key):
    return {str(value): _means(steps, steps[key] == value) for value in np.unique(steps[key])}


def _means(steps, rows):
    rows = rows & np.isfinite(steps["meta_loss"])
    if not rows.any():
        return {"meta_loss": None, "accuracy": None}
    return {key: float(steps[key][rows].mean()) for key in ("meta_loss", "accuracy")}


def merge_parameters(rule, theta):
    """The merge parameters of a rule by name.

    Args:
        rule: A `RuleSpec`.
        theta: Dict of arrays.

    Returns:
        A dict such as {"coefficients/first/competition": 0.3, "step/last": -1.2}.

    Example:
    ```python
    from keras_learned_rule import UpdateRule
    from keras_learned_rule.meta.metrics import merge_parameters

    rule = UpdateRule.from_preset("compact")
    assert "coefficients/first/competition" in merge_parameters(rule.spec, rule.theta)
    ```
    """
    named = {}
    for name, array in theta.items():
        if not name.startswith("merge/"):
            continue
        path = name.removeprefix("merge/")
        if rule.merge == "compact":
            for group, values in zip(GROUPS[rule.groups], array, strict=True):
                named |= _entries(rule, f"{path}/{group}", values)
        else:
            named |= _entries(rule, path, array)
    return named


def _entries(rule, path, values):
    if np.ndim(values) == 0:
        return {path: float(values)}
    return {f"{path}/{term}": float(v) for term, v in zip(rule.terms, values, strict=True)}
