"""Command line of the experiments: `python -m keras_learned_rule.experiments NAME`."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

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

REPORT_FOLDER = "docs/results"
USAGE = f"""Usage: python -m keras_learned_rule.experiments NAME [--flags], where NAME is one of
  {", ".join(registry.NAMES)}
  all      every experiment, one after the other
  list     says what each shows
  report   writes OUT.md, by default {REPORT_FOLDER}.md, from the results in OUT"""


def main(argv):
    """Runs the experiment, or all; `list` and `report` only read."""
    if len(argv) != 2 or argv[1] not in (*registry.NAMES, "all", "list", "report"):
        raise app.UsageError(f"{USAGE}\nReceived: {argv[1:]}")
    logging.set_verbosity(logging.WARNING)
    if argv[1] == "list":
        for name, experiment in registry.load_all().items():
            print(f"{name:20} {experiment.TITLE}")
    elif argv[1] == "report":
        from keras_learned_rule.experiments.run import write_report

        print(f"Wrote {write_report(FLAGS.out or REPORT_FOLDER)}")
    else:
        try:
            _run(registry.NAMES if argv[1] == "all" else argv[1:])
        except KeyboardInterrupt:
            raise SystemExit(
                "\nStopped. Finished cells are kept; the same command goes on."
            ) from None


def _run(names):
    from keras_learned_rule.experiments.run import run_experiment

    out = FLAGS.out or ("runs/experiments_quick" if FLAGS.quick else "runs/experiments")
    for name in names:
        print(f"{name}: {registry.load(name).TITLE}", flush=True)
        markdown = run_experiment(
            name,
            out,
            FLAGS.gin_file,
            FLAGS.gin,
            FLAGS.rule,
            FLAGS.data_dir,
            FLAGS.quick,
            FLAGS.replace,
        )
        print(f"\n{markdown}\nResults: {out}/{name}.json and .png\n", flush=True)


if __name__ == "__main__":
    app.run(main)
