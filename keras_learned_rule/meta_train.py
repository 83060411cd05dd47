"""Command line of meta-training: `python -m keras_learned_rule.meta_train --gin_file FILE`."""

import os
import re
import sys
from pathlib import Path

from absl import app, flags, logging

FLAGS = flags.FLAGS
_SHOWN = (
    ValueError,
    OSError,
    ImportError,
    FloatingPointError,
    MemoryError,
    TypeError,
    RuntimeError,
)
# How gin says that neither the files nor the caller have given an argument.
_MISSING = re.compile("Required bindings for|No values supplied by Gin")
flags.DEFINE_multi_string("gin_file", None, "Gin file; repeat for several.", required=True)
flags.DEFINE_multi_string("gin", [], "Single gin binding such as 'train.updates = 100'.")
flags.DEFINE_string("run_dir", None, "Folder of the run. Default: runs/ and the gin file's name.")
flags.DEFINE_bool("dry_run", False, "Print what would run, and stop.")


def main(argv):
    """Reads the gin files and runs `train`."""
    if argv[1:]:
        raise app.UsageError(f"Only flags are allowed. Received: {argv[1:]}")
    logging.set_verbosity(logging.WARNING)
    from keras_learned_rule.configs import parse_gin
    from keras_learned_rule.meta.run import LostProcessError
    from keras_learned_rule.meta.train import train

    try:
        parse_gin(FLAGS.gin_file, FLAGS.gin)
        train(FLAGS.run_dir or _default_run_dir(FLAGS.gin_file[-1]), dry_run=FLAGS.dry_run)
    except LostProcessError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        # An orderly end waits for the processes that are gone, and then aborts.
        os._exit(1)
    except _SHOWN as error:
        if isinstance(error, (TypeError, RuntimeError)) and not _MISSING.search(str(error)):
            raise
        logging.debug("", exc_info=True)
        sys.exit(f"{type(error).__name__}: {error}")


def _default_run_dir(gin_file):
    return str(Path("runs") / Path(gin_file).stem)


if __name__ == "__main__":
    app.run(main)
