"""One measurement of benchmarks/meta_step.py, in its own process: json in, json out."""

import functools
import itertools
import json
import resource
import sys
import time

import numpy as np
from keras import ops, tree

from keras_learned_rule.data.synthetic import gaussian_mixture
from keras_learned_rule.meta import unroll as unroll_module
from keras_learned_rule.meta.adam import adam_start
from keras_learned_rule.meta.cost import Cost, gradient_cost, score_cost, update_cost
from keras_learned_rule.meta.engine import make_engine
from keras_learned_rule.meta.families import TaskFamily, load_families
from keras_learned_rule.meta.meta_step import Shared, bucket_step, meta_update
from keras_learned_rule.meta.networks import NetworkSpec
from keras_learned_rule.meta.particles import finished_particles, new_particle, particle_task
from keras_learned_rule.meta.problem import Problem
from keras_learned_rule.meta.tasks import inner_data
from keras_learned_rule.rule.mlp import init_mlp_state
from keras_learned_rule.rule.spec import RuleSpec
from keras_learned_rule.rule.theta import init_theta
from keras_learned_rule.rule.update import unsupervised_update, with_memory

LENGTHS = np.array([100, 100], "float32")


def engine_for(job):
    """The engine of a job; with "plain", the package's update gives way to the plain one."""
    engine = make_engine(jit_compile=job.get("xla", False), cpu_devices=job.get("devices", 1))
    if job.get("plain"):
        engine.loop = _unrolled
        if job["rule"] == "compact":
            from plain_update import plain_update

            unroll_module.unsupervised_update = plain_update
    return engine


def _unrolled(steps, body, carry):
    for k in range(steps):
        carry = body(k, carry)
    return carry


def meta_step(job, engine):
    """(a function of the number of the update, compiled, its arguments), and the problem."""
    tasks = engine.replicas
    family = TaskFamily(
        [(gaussian_mixture, 1.0)],
        NetworkSpec(tuple(job["widths"])),
        buckets=1,
        tasks=tasks,
        size=job["size"],
        batches=(job["batch"],),
    )
    problem = Problem(getattr(RuleSpec, job["rule"])(), remat=job["remat"])
    (bucket,), (sources,) = load_families([family], seed=0)
    theta = init_theta(problem.rule)
    particles = finished_particles(problem, bucket.spec, theta, tasks)
    particles = engine.spread(tree.map_structure(np.asarray, particles))
    ids = engine.spread(np.arange(tasks, dtype="int32"))
    shared_theta, pool = engine.share(theta), engine.share(sources.pool)
    step = engine.compile_spread(
        functools.partial(bucket_step, engine, problem, bucket.spec, job["truncation"])
    )

    def arguments(update, particles=particles):
        seed = engine.share(np.array([0, update], "int32"))
        return Shared(shared_theta, pool, engine.share(LENGTHS), seed), (ids, particles)

    return step, arguments, problem, bucket.spec, pool, shared_theta


def timed(function, repeats):
    """Least wall and CPU seconds of a call."""
    seconds = []
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        tree.map_structure(np.asarray, function())
        seconds.append((time.perf_counter() - wall, time.process_time() - cpu))
    return np.min(seconds, axis=0)


def speed(job):
    """Times and memory of a whole meta-step."""
    engine = engine_for(job)
    step, arguments, *_ = meta_step(job, engine)
    steps = job["truncation"] * engine.replicas
    wall, cpu = time.perf_counter(), time.process_time()
    (particles, _), gradient = step(*arguments(0))
    engine.fetch_shared(gradient)
    compiling = time.perf_counter() - wall, time.process_time() - cpu

    def again():
        return engine.fetch_shared(step(*arguments(1, particles))[1])

    again()
    wall, cpu = timed(again, job["repeats"]) / steps
    return {
        "wall": wall,
        "cpu": cpu,
        "compile": compiling[0],
        "compile_cpu": compiling[1],
        "peak": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "reserved": _reserved(job, step, arguments),
    }


def _reserved(job, step, arguments):
    if job["backend"] != "jax":
        return 0
    return step.lower(*arguments(0)).compile().memory_analysis().temp_size_in_bytes


def agreement(job):
    """The meta-gradient from data that do not depend on the engine."""
    engine = engine_for(job)
    _, _, problem, spec, _, theta = meta_step(job, engine)
    rng, steps = np.random.default_rng(0), job["truncation"]
    widths, backward = (spec.inputs, *spec.network.widths), problem.rule.neuron_network
    state = init_mlp_state(_normals(rng, widths), _normals(rng, widths) if backward else None)
    state = with_memory(problem.rule, state)
    labelled = spec.ways * (spec.shots + spec.tests)
    data = unroll_module.InnerData(
        *(
            ops.convert_to_tensor(rng.random((steps, count, spec.inputs), "float32"))
            for count in (spec.batch, labelled)
        )
    )

    def mean_loss(theta):
        parts = engine, problem, spec, theta, state, data, 0, 100
        return ops.mean(unroll_module.unroll(*parts)[0]), ()

    gradient = engine.compile_shared(lambda t: engine.value_and_gradient(mean_loss, t)[2])(theta)
    gradient = engine.fetch_shared(gradient)
    return {"gradient": np.concatenate([np.ravel(gradient[n]) for n in sorted(gradient)]).tolist()}


def _normals(rng, widths):
    shapes = itertools.pairwise(widths)
    return [ops.convert_to_tensor(rng.standard_normal(s), "float32") for s in shapes]


def stages(job):
    """CPU seconds of each part of a meta-step, per inner step, with its matrix products."""
    engine = engine_for(job)
    step, arguments, problem, spec, pool, theta = meta_step(job, engine)
    steps, rule, plan = job["truncation"], problem.rule, spec.network.plan()
    widths = (spec.inputs, *spec.network.widths)
    seed = engine.share(np.array([3, 4], "int32"))
    shape = (steps, spec.images_a_step, spec.draws_an_image)
    draws = engine.share(np.random.default_rng(0).random(shape, "float32"))
    task = engine.compile_shared(lambda s: particle_task(engine, spec, pool, s))(seed)
    data = engine.compile_shared(lambda d: inner_data(spec, pool, task, d))(draws)
    state = with_memory(rule, init_mlp_state(_normals(np.random.default_rng(0), widths)))
    labels, gradient = spec.episode.labels(), step(*arguments(0))[1]
    adam = engine.share(adam_start(theta))

    def updates(state):
        def body(k, state):
            return unsupervised_update(rule, theta, plan, state, data.batches[k], 0.1)[0]

        return engine.loop(steps, body, state)

    def scores(state):
        def body(k, total):
            parts = problem.objective, spec.episode, plan, state, labels, data.labelled[k]
            return total + unroll_module.score(*parts)[0]

        return engine.loop(steps, body, ops.zeros(()))

    functions = {
        "draws": (lambda s: engine.uniform(s, shape), seed),
        "data": (lambda d: inner_data(spec, pool, task, d), draws),
        "renewal": (
            lambda s: new_particle(engine, problem, spec, theta, LENGTHS, s),
            seed,
        ),
        "update": (updates, state),
        "score": (scores, state),
        "meta-update": (lambda g: meta_update(theta, adam, 0.0, [g], 1.0, 1e-3), gradient),
    }
    update = update_cost(rule, widths, job["batch"])
    score = score_cost(widths, spec.ways, spec.shots, spec.tests)
    costs = {"update": update, "score": score}
    found = {}
    for name, (function, argument) in functions.items():
        compiled = engine.compile_shared(function)
        compiled(argument)
        cpu = timed(functools.partial(compiled, argument), job["repeats"])[1] / steps
        found[name] = _stage(cpu, costs.get(name, Cost(0, 0)))
    whole = timed(lambda: step(*arguments(0))[1], job["repeats"])[1] / steps
    found["whole meta-step"] = _stage(whole, gradient_cost(update + score, job["remat"]))
    return {"stages": found, **_machine(engine)}


def _stage(cpu, cost):
    return {"cpu": cpu, "flop": cost.flop, "bytes": cost.bytes}


def _machine(engine):
    def product_seconds(n, times):
        a = engine.share(np.full((n, n), 1e-3, "float32"))
        power = engine.compile_shared(lambda b: engine.loop(times, lambda k, b: a @ b, b))
        power(a)
        return timed(lambda: power(a), 5)[1] / times

    return {
        "peak_flops": 2 * 2048**3 / product_seconds(2048, 2),
        "small_product": product_seconds(128, 100),
    }


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    measure = {"stages": stages, "speed": speed, "agreement": agreement}[job["measure"]]
    print(json.dumps(measure(job)))
