"""Keeps the notes that TensorFlow writes at its start off the screen."""

import contextlib
import os
import subprocess
import sys

# They come before TF_CPP_MIN_LOG_LEVEL takes effect, and 303 says that there is no GPU driver.
NOTES = "absl::InitializeLog|cudart_stub|cuInit.*UNKNOWN ERROR .303."
FILTER = f"""
import re, sys
for line in sys.stdin.buffer:
    if not re.search(rb"{NOTES}", line):
        sys.stderr.buffer.write(line)
"""


@contextlib.contextmanager
def without_start_notes():
    """Drops the lines of `NOTES` from stderr and lets all others pass.

    Another process reads the lines: the last words of a crash come through as well.
    """
    stderr = os.dup(2)
    reader = subprocess.Popen([sys.executable, "-c", FILTER], stdin=subprocess.PIPE)
    os.dup2(reader.stdin.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        reader.stdin.close()
        reader.wait()
