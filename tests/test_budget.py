"""The time budget of tests finds what is over it, and nothing else."""

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import time

import pytest


def burn():
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass


@pytest.fixture
def dear():
    burn()


def test_that_computes():
    burn()


def test_with_a_dear_fixture(dear):
    pass


def test_that_waits():
    time.sleep(0.3)


@pytest.mark.slow
def test_that_says_so():
    burn()
"""


def run(pytester, *options):
    pytester.makeini("[pytest]\nmarkers = slow: takes long\n")
    pytester.makepyfile(TESTS)
    return pytester.runpytest_inprocess("-p", "budget", *options)


def test_tests_over_the_budget_fail_the_run(pytester):
    result = run(pytester, "--budget", "0.2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    over = [line for line in result.outlines if line.startswith("OVER BUDGET")]
    assert [line.split("::")[1].split(":")[0] for line in over] == [
        "test_that_computes",
        "test_with_a_dear_fixture",
    ]


def test_tests_within_the_budget_pass(pytester):
    result = run(pytester, "--budget", "5")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*seconds of the processor in all tests"])
