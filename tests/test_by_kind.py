"""benchmarks/by_kind.py, run as its users do."""

import subprocess
import sys

import pytest


def by_kind(root, *arguments):
    script = root / "benchmarks" / "by_kind.py"
    if not script.exists():
        pytest.skip("the benchmarks are not here")
    command = [sys.executable, str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=500)


@pytest.mark.slow
def test_names_that_do_not_exist_are_refused(root):
    ran = by_kind(root, "--kind", "warped", "--kind", "handwritten")
    assert ran.returncode and "--kind must be one of ['warped', 'mild'" in ran.stdout + ran.stderr
    assert "Received: 'handwritten'" in ran.stdout + ran.stderr


@pytest.mark.slow
def test_a_rule_differs_from_itself_by_nothing(root):
    rules = [f"--rule={name}" for name in ("compact", "compact", "compact_1")]
    ran = by_kind(root, *rules, "--kind=counts", "--tasks=2", "--steps=2")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in ran.stdout.splitlines()]
    head, _, (_, reference), (_, same), (_, other) = rows
    assert head == ["rule", "counts, base"] and 10 < float(reference) < 100
    assert same == "+0.0 ± 0.0" != other
