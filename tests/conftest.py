"""What all tests share: a quiet CPU-only backend, equal random numbers, recorded references."""

import os
import tempfile

# Before anything imports a backend.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
os.environ["MPLBACKEND"] = "Agg"
# Child processes compile the same programs; what one has compiled the next one reads.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    os.path.join(tempfile.gettempdir(), f"keras_learned_rule_jax_{os.getuid()}"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores; threads of their own would only get in each other's way.
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import gin
import keras
import pytest

pytest_plugins = ["budget", "slow_cases"]

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = Path(os.environ.get("LEARNED_RULE_REFERENCE", ROOT.parent / "shared" / "reference"))

# Bounds near the precision of float64 need TensorFlow. With another backend these files run. The
# tests of `fit` and meta-training on TensorFlow also start child processes on the others.
ANY_BACKEND = {
    "test_configs",
    "test_data",
    "test_data_augment",
    "test_data_docs",
    "test_files",
    "test_gin_configs",
    "test_layer_parameters",
    "test_meta_checkpoint",
    "test_meta_families",
    "test_meta_metrics",
    "test_meta_particles",
    "test_meta_start",
    "test_meta_tasks",
    "test_rule_mlp",
    "test_plot_run",
    "test_readout",
    "test_rule_spec",
    "test_update_rule",
}


def pytest_ignore_collect(collection_path):
    """Leaves out what cannot run on the backend in use."""
    if os.environ["KERAS_BACKEND"] != "tensorflow" and collection_path.name.startswith("test_"):
        return collection_path.stem not in ANY_BACKEND or None
    return None


@pytest.fixture(autouse=True)
def fixed_seed():
    keras.utils.set_random_seed(0)


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory):
    """Decoded data are kept among the files of the tests."""
    os.environ["KERAS_LEARNED_RULE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def root():
    """The folder of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data():
    """The folder of the small recorded files that are kept with the tests."""
    return ROOT / "tests" / "data"


@pytest.fixture(scope="session")
def reference():
    """The folder with what the original code computed; LEARNED_RULE_REFERENCE may name it."""
    if not REFERENCE.is_dir():
        pytest.skip(f"no recorded reference at {REFERENCE}")
    return REFERENCE


@pytest.fixture(autouse=True)
def no_gin():
    """No test leaves gin's configuration, or gin locked, to the next."""
    yield
    gin.clear_config()
