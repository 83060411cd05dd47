"""Where Keras has no backend to run on, the package says what to install."""

import subprocess
import sys

import children
import pytest

IMPORT = """
import sys
sys.modules["torch"] = None  # As if it were not installed.
import keras_learned_rule
"""


@pytest.mark.parametrize("backend", ["torch", "theano"])
def test_a_backend_that_is_not_there_is_named(backend):
    result = subprocess.run(
        [sys.executable, "-c", IMPORT],
        env=children.environment_of(backend),
        capture_output=True,
        text=True,
    )
    *_, message = result.stderr.strip().splitlines()
    assert message.startswith("ImportError: keras_learned_rule needs Keras and one backend")
    assert "[torch], and set KERAS_BACKEND to" in message
    assert f"Received: KERAS_BACKEND='{backend}', " in message
    assert "site-packages" not in result.stderr
