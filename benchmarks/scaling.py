"""Times meta-updates of one process and of several on this machine, each on a core of its own.

    python benchmarks/scaling.py [--processes 1 --processes 2] [--updates 30]

JAX on CPU; the compact rule on made vectors, networks of 64-64-32, 32 examples a batch, 8 inner
steps a meta-update. *The same tasks*: 8 in all; *more tasks*: 4 a process. Times are medians of a
meta-update after the first three, of process 0. Prints markdown, as in docs/scaling.md.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time

from absl import app, flags

from keras_learned_rule.experiments.report import table

FLAGS = flags.FLAGS
flags.DEFINE_multi_integer("processes", [1, 2], "How many processes; repeat for several.")
flags.DEFINE_integer("updates", 30, "Meta-updates of a measurement.", lower_bound=5)
flags.DEFINE_string("job", None, "What a process of a measurement does, as json.")

FIRST = 3
TASKS = {"the same tasks": lambda processes: 8, "more tasks": lambda processes: 4 * processes}


def measured(processes, tasks):
    """Milliseconds of a meta-update."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    job = json.dumps({"processes": processes, "tasks": tasks, "updates": FLAGS.updates})
    started = [
        subprocess.Popen(
            [sys.executable, __file__, f"--job={job}"],
            env={
                **os.environ,
                "KERAS_BACKEND": "jax",
                "KERAS_DISTRIBUTION_JOB_ADDRESSES": address,
                "KERAS_DISTRIBUTION_NUM_PROCESSES": str(processes),
                "KERAS_DISTRIBUTION_PROCESS_ID": str(process),
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for process in range(processes)
    ]
    outputs = [process.communicate()[0] for process in started]
    return json.loads(outputs[0].splitlines()[-1])


def work(job):
    """One process of a measurement; prints its milliseconds."""
    cores = sorted(os.sched_getaffinity(0))
    process = int(os.environ["KERAS_DISTRIBUTION_PROCESS_ID"])
    os.sched_setaffinity(0, {cores[process % len(cores)]})
    from keras_learned_rule.data.synthetic import gaussian_mixture
    from keras_learned_rule.meta.engine import make_engine
    from keras_learned_rule.meta.families import TaskFamily, load_families
    from keras_learned_rule.meta.networks import NetworkSpec
    from keras_learned_rule.meta.problem import Problem
    from keras_learned_rule.meta.schedule import Horizon
    from keras_learned_rule.meta.trainer import MetaTrainer
    from keras_learned_rule.rule.spec import RuleSpec
    from keras_learned_rule.rule.theta import init_theta

    engine = make_engine("multi_worker" if job["processes"] > 1 else "default")
    network, rule = NetworkSpec((64, 64, 32)), RuleSpec.compact()
    source = [(gaussian_mixture, 1.0)]
    family = TaskFamily(source, network, buckets=1, tasks=job["tasks"], size=10, batches=(32,))
    trainer = MetaTrainer(
        engine,
        Problem(rule),
        *load_families([family], seed=0),
        init_theta(rule),
        updates=1000,
        horizon=Horizon((100, 100), (8,)),
    )
    seconds = []
    for _ in range(job["updates"]):
        start = time.perf_counter()
        trainer.update()
        trainer.theta_arrays()
        seconds.append(time.perf_counter() - start)
    print(json.dumps(1e3 * statistics.median(seconds[FIRST:])))


def main(argv):
    """Measures all and prints the table, or does one process's share of a measurement."""
    if argv[1:]:
        sys.exit(f"Only flags are allowed. Received: {argv[1:]}")
    if FLAGS.job:
        work(json.loads(FLAGS.job))
        return
    rows = []
    for name, tasks_of in TASKS.items():
        for processes in FLAGS.processes:
            tasks = tasks_of(processes)
            ms = measured(processes, tasks)
            a_second = 8e3 * tasks / ms
            if processes == FLAGS.processes[0]:
                first = a_second / processes
            efficiency = f"{a_second / processes / first:.2f}"
            rows.append(
                [name, str(processes), str(tasks), f"{ms:.1f}", f"{a_second:.0f}", efficiency]
            )
    head = ["", "processes", "tasks", "ms a meta-update", "inner steps a second", "efficiency"]
    print(f"Load before: {os.getloadavg()[0]:.1f}.\n\n{table(head, rows)}")


if __name__ == "__main__":
    app.run(main)
