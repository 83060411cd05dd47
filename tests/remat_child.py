"""What a meta-step on JAX computes and needs with and without rematerialisation, as json."""

import functools
import json

import numpy as np
from keras import tree

from keras_learned_rule.data.synthetic import gaussian_mixture
from keras_learned_rule.meta.engine import make_engine
from keras_learned_rule.meta.families import TaskFamily, load_families
from keras_learned_rule.meta.meta_step import Shared, bucket_step
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.particles import finished_particles
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta

TRUNCATIONS = 3, 6


class Case:
    """A compiled meta-step of one small task."""

    def __init__(self, remat, truncation):
        self.engine, self.tracings = make_engine(), 0
        family = TaskFamily(
            [(gaussian_mixture, 1.0)], NetworkSpec((128,)), buckets=1, size=6, batches=(128,)
        )
        (bucket,), (sources,) = load_families([family], seed=0)
        rule = RuleSpec.compact(terms=("competition", "decorrelation"), shaped_bias=False)
        problem = Problem(rule, remat=remat)
        self.theta = init_theta(problem.rule)
        self.pool = self.engine.share(sources.pool)
        start = finished_particles(problem, bucket.spec, self.theta, 1)
        self.particles = self.engine.spread(tree.map_structure(np.asarray, start))
        step = functools.partial(bucket_step, self.engine, problem, bucket.spec, truncation)

        def counted(*trees):
            self.tracings += 1
            return step(*trees)

        self.step = self.engine.compile_spread(counted)

    def arguments(self, update):
        share = self.engine.share
        lengths, seed = np.array([50, 50], "float32"), np.array([1, update], "int32")
        shared = Shared(share(self.theta), self.pool, share(lengths), share(seed))
        return shared, (self.engine.spread(np.zeros((1,), "int32")), self.particles)

    def gradients(self):
        """The meta-gradients of two updates, flat."""
        found = []
        for update in range(2):
            (self.particles, _), gradient = self.step(*self.arguments(update))
            gradient = self.engine.fetch_shared(gradient)
            found.append(np.concatenate([np.ravel(gradient[n]) for n in sorted(gradient)]).tolist())
        return found

    def reserved_bytes(self):
        """What XLA sets aside for intermediate results."""
        compiled = self.step.lower(*self.arguments(0)).compile()
        return compiled.memory_analysis().temp_size_in_bytes


if __name__ == "__main__":
    report = {"gradients": {}, "tracings": {}, "reserved": {}}
    for remat in ("kept", "recomputed"):
        cases = [Case(remat == "recomputed", truncation) for truncation in TRUNCATIONS]
        report["gradients"][remat] = cases[0].gradients()
        report["tracings"][remat] = cases[0].tracings
        report["reserved"][remat] = [case.reserved_bytes() for case in cases]
    print(json.dumps(report))
