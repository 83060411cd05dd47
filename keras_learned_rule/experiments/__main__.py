"""Command line of the experiments: `python -m keras_learned_rule.experiments NAME`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

from pathlib import Path

from absl import app, flags, logging

from keras_learned_rule.experiments import registry

FLAGS = flags.FLAGS
flags.DEFINE_multi_string("gin_file", [], "Gin file; default gin_configs/experiments/NAME.gin.")
flags.DEFINE_multi_string("gin", [], "Single gin binding such as 'few_shot.seeds = 3'.")
flags.DEFINE_string("rule", "compact", "Preset or theta file.")
flags.DEFINE_string("data_dir", None, "Folder of TFDS data sets. Default: $TFDS_DATA_DIR.")
flags.DEFINE_string("out", None, "Folder of results. Default: runs/experiments.")
flags.DEFINE_bool("quick", False, "Smallest sizes, on data that need no download.")
flags.DEFINE_bool("replace", False, "Compute results with other settings again.")

QUICK = "gin_configs/experiments/quick.gin"
REPORT_FOLDER = "docs/results"
USAGE = f"""a name is one of
  {", ".join(registry.NAMES)}
  all      every experiment, one after the other
  list     says what each shows
  report   writes OUT.md, by default {REPORT_FOLDER}.md, from the results in OUT"""


def main(argv):
    """Runs the experiment, or all; `list` and `report` only read."""
    if len(argv) != 2 or argv[1] not in (*registry.NAMES, "all", "list", "report"):
        raise app.UsageError(f"One name is needed. {USAGE}\nReceived: {argv[1:]}")
    logging.set_verbosity(logging.WARNING)
    name = argv[1]
    if name == "list":
        for title, experiment in registry.load_all().items():
            print(f"{title:20} {experiment.TITLE}")
    elif name == "report":
        write_report(Path(FLAGS.out or REPORT_FOLDER))
    else:
        names = registry.NAMES if name == "all" else (name,)
        for each in names:
            try:
                run(each)
            except KeyboardInterrupt:
                raise SystemExit("\nStopped. Finished cells are kept; the same command goes on.")


def run(name):
    """Runs one experiment: computes missing cells, prints its tables, draws its picture."""
    import gin

    from keras_learned_rule.configs import find_gin_file
    from keras_learned_rule.experiments.cells import CellStore
    from keras_learned_rule.experiments.report import section
    from keras_learned_rule.experiments.setting import Setting
    from keras_learned_rule.fit.binding import resolve_rule

    experiment = registry.load_all()[name]
    files = list(FLAGS.gin_file) or [f"gin_configs/experiments/{name}.gin"]
    files += [QUICK] if FLAGS.quick else []
    gin.clear_config()
    gin.parse_config_files_and_bindings([find_gin_file(file) for file in files], FLAGS.gin)
    setting = Setting(resolve_rule(FLAGS.rule), Path(FLAGS.rule).stem, FLAGS.data_dir)
    folder = Path(FLAGS.out or ("runs/experiments_quick" if FLAGS.quick else "runs/experiments"))
    print(f"{name}: {experiment.TITLE}", flush=True)
    store = CellStore(folder / f"{name}.json")
    store.run(experiment.groups(setting), FLAGS.replace)
    experiment.draw(store.results(), folder / f"{name}.png")
    print(f"\n{section(experiment, store)}\nResults: {folder / name}.json and .png", flush=True)


def write_report(folder):
    """Writes the report beside its folder of results."""
    from keras_learned_rule.experiments.report import document
    from keras_learned_rule.rule.files import write_atomically

    path = folder.with_suffix(".md")
    write_atomically(path, document(folder, registry.load_all()).encode())
    print(f"Wrote {path}")


if __name__ == "__main__":
    app.run(main)
