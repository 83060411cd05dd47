"""Times the meta-step: inner steps with meta-gradient per second, and where the time goes.

    python benchmarks/meta_step.py [--quick]

Each measurement runs in a process of its own, one after the other, since a process has one Keras
backend and its peak memory is measured. Everything of a meta-step is included: draws, data,
renewal of inner loops, K updates with their scores, and the meta-gradient. `plain` is the same
meta-step as a tf.function without XLA, with loops unrolled and the update written term by term
(benchmarks/plain_update.py); its meta-gradient is checked against the others'. Times are of the
fastest of the repetitions, which are the least disturbed. Prints markdown, as in
docs/performance.md.
"""

import json
import os
import platform
import subprocess
import sys

import numpy as np
from absl import app, flags

SETTINGS = {
    "small": dict(rule="compact", widths=(32,) * 3, size=10, batch=32, truncation=8),
    "middle": dict(rule="compact", widths=(128,) * 5, size=14, batch=128, truncation=8),
    "paper": dict(rule="published", widths=(128,) * 4 + (32,), size=14, batch=128, truncation=2),
}
ENGINES = {
    "plain": dict(backend="tensorflow", xla=False, plain=True),
    "tensorflow": dict(backend="tensorflow", xla=False),
    "tensorflow, XLA": dict(backend="tensorflow", xla=True),
    "jax": dict(backend="jax"),
    "jax, 2 devices": dict(backend="jax", devices=2),
}
MEMORY_TRUNCATIONS = 4, 12
# Of a meta-gradient, against its largest entry. That of the published rule is ill-conditioned:
# float32 is off by 0.02 to 0.03 with and without XLA, and so is float64 after its inputs were
# rounded (docs/performance.md).
LARGEST_ERROR = {"small": 1e-3, "middle": 1e-3, "paper": 5e-2}
CHILD = os.path.join(os.path.dirname(os.path.abspath(__file__)), "meta_step_child.py")

FLAGS = flags.FLAGS
flags.DEFINE_bool("quick", False, "The small setting alone, few repetitions: a smoke test.")
flags.DEFINE_multi_enum("settings", ["small", "middle", "paper"], SETTINGS, "Which to time.")
flags.DEFINE_integer("repeats", 15, "Meta-steps of each measurement.", lower_bound=3)


def measured(measure, **job):
    """What a child process finds out about one meta-step."""
    environment = {
        **os.environ,
        "KERAS_BACKEND": job["backend"],
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "XLA_FLAGS": "" if job["backend"] == "jax" else os.environ.get("XLA_FLAGS", ""),
    }
    done = subprocess.run(
        [sys.executable, CHILD, json.dumps({**job, "measure": measure})],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def row(*cells):
    """A row of a markdown table."""
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def header(*names):
    """The head of a markdown table."""
    row(*names)
    print(f"|{' --- |' * len(names)}")


def print_speed(settings, repeats):
    """The table of settings and engines, with and without rematerialisation."""
    header(
        "setting", "engine", "remat", "inner steps / s", "against plain", "wall ms", "CPU ms",
        "CPU against plain", "compile s", "compile CPU s",
    )  # fmt: skip
    for setting in settings:
        plain = None
        check_gradients(setting)
        for engine, choice in ENGINES.items():
            for remat in (False,) if choice.get("plain") else (False, True):
                job = {**SETTINGS[setting], **choice, "remat": remat, "repeats": repeats}
                found = measured("speed", **job)
                plain = plain or found
                row(
                    setting,
                    engine,
                    "yes" if remat else "no",
                    f"{1 / found['wall']:.1f}",
                    f"{plain['wall'] / found['wall']:.2f}",
                    f"{1e3 * found['wall']:.2f}",
                    f"{1e3 * found['cpu']:.2f}",
                    f"{plain['cpu'] / found['cpu']:.2f}",
                    f"{found['compile']:.1f}",
                    f"{found['compile_cpu']:.1f}",
                )


def check_gradients(setting):
    """Compares meta-gradients from the same data, since engines draw other numbers."""
    job = {**SETTINGS[setting], "truncation": 2, "remat": True}
    names = "plain", "tensorflow, XLA", "jax"
    plain, *others = (measured("agreement", **job, **ENGINES[n])["gradient"] for n in names)
    for name, other in zip(names[1:], others, strict=True):
        error = np.abs(np.subtract(other, plain)).max() / np.abs(plain).max()
        if error > LARGEST_ERROR[setting]:
            sys.exit(f"The meta-gradient of {name} differs from that of plain by {error}.")


def print_memory(setting):
    """The table of peak memory against K."""
    print("\nPeak memory of the process in MB; for JAX also what XLA sets aside for the program.\n")
    least, most = MEMORY_TRUNCATIONS
    header("engine", "remat", f"K = {least}", f"K = {most}", "MB per K", "XLA, MB per K")
    for engine in ("tensorflow, XLA", "jax"):
        for remat in (False, True):
            job = {**SETTINGS[setting], **ENGINES[engine], "remat": remat, "repeats": 3}
            found = [measured("speed", **{**job, "truncation": k}) for k in MEMORY_TRUNCATIONS]
            peaks, reserved = ([f[name] / 1e6 for f in found] for name in ("peak", "reserved"))
            slope = [(v[1] - v[0]) / (most - least) for v in (peaks, reserved)]
            xla = f"{slope[1]:.2f}" if reserved[0] else ""
            cells = (f"{p:.0f}" for p in peaks)
            row(engine, "yes" if remat else "no", *cells, f"{slope[0]:.2f}", xla)


def print_stages(setting, repeats):
    """The table of stages against the floor."""
    found = measured("stages", **SETTINGS[setting], backend="jax", remat=True, repeats=repeats)
    peak = found["peak_flops"]
    print(
        f"\nStages of {setting} by themselves on JAX, of an inner step. Floor: the matrix products "
        f"at the speed of one of 2048 x 2048, {peak / 1e9:.0f} GFLOP/s; one of 128 x 128 takes "
        f"{1e6 * found['small_product']:.0f} us.\n"
    )
    header("stage", "CPU ms", "GFLOP", "MB", "floor ms")
    for name, stage in found["stages"].items():
        flop, size = stage["flop"], stage["bytes"]
        cells = f"{flop / 1e9:.3f}", f"{size / 1e6:.1f}", f"{1e3 * flop / peak:.2f}"
        row(name, f"{1e3 * stage['cpu']:.2f}", *cells)


def main(argv):
    """Measures everything and prints the tables."""
    if argv[1:]:
        sys.exit(f"Only flags are allowed. Received: {argv[1:]}")
    repeats = 3 if FLAGS.quick else FLAGS.repeats
    settings = ("small",) if FLAGS.quick else FLAGS.settings
    load = os.getloadavg()[0]
    print(f"{platform.machine()}, {os.cpu_count()} cores, load before: {load:.1f}.\n", flush=True)
    print_speed(settings, repeats)
    middle = "small" if FLAGS.quick else "middle"
    print_memory(middle)
    print_stages(middle, repeats)


if __name__ == "__main__":
    app.run(main)
