"""Command line of meta-training: `python -m keras_learned_rule.meta_train --gin_file FILE`."""

from pathlib import Path

from absl import app, flags, logging

FLAGS = flags.FLAGS
flags.DEFINE_multi_string("gin_file", None, "Gin file; repeat for several.", required=True)
flags.DEFINE_multi_string("gin", [], "Single gin binding such as 'train.updates = 100'.")
flags.DEFINE_string("run_dir", None, "Folder of the run. Default: runs/ and the gin file's name.")


def main(argv):
    """Reads the gin files and runs `train`."""
    if argv[1:]:
        raise app.UsageError(f"Only flags are allowed. Received: {argv[1:]}")
    logging.set_verbosity(logging.WARNING)
    import gin

    from keras_learned_rule.configs import find_gin_file
    from keras_learned_rule.meta.train import train

    files = [find_gin_file(path) for path in FLAGS.gin_file]
    gin.parse_config_files_and_bindings(files, FLAGS.gin)
    train(FLAGS.run_dir or _default_run_dir(files[-1]))


def _default_run_dir(gin_file):
    return str(Path("runs") / Path(gin_file).stem)


if __name__ == "__main__":
    app.run(main)
