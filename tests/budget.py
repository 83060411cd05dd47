"""A time budget: a test that takes long must carry the mark `slow`.

Measured are seconds of the processor, of the test and its child processes, so that a busy machine
fails nobody. The first test of a module pays for the fixtures of the module.
"""

import resource

import pytest

SECONDS = 10.0
# Under xdist properties of a test reach the process that reports.
_PROPERTY = "cpu_seconds"


def pytest_addoption(parser):
    """Adds `--budget`, seconds that a test without the mark may take."""
    parser.addoption("--budget", type=float, default=SECONDS, help="seconds of a quick test")


def _cpu_seconds():
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Measures a test with its fixtures."""
    try:
        return (yield)
    finally:
        item.user_properties.append((_PROPERTY, _cpu_seconds() - item.stash[_BEGUN]))


_BEGUN = pytest.StashKey()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Notes when the fixtures of a test begin."""
    item.stash[_BEGUN] = _cpu_seconds()


class _Report:
    """Collects what tests took, in the process that reports."""

    def __init__(self, budget):
        self._budget = budget
        self._seconds, self._over = 0.0, {}

    def pytest_runtest_logreport(self, report):
        if report.when != "call":
            return
        seconds = dict(report.user_properties).get(_PROPERTY, 0.0)
        self._seconds += seconds
        if seconds > self._budget and "slow" not in report.keywords:
            self._over[report.nodeid] = seconds

    def pytest_sessionfinish(self, session):
        if self._over:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.write_line(f"{self._seconds:.0f} seconds of the processor in all tests")
        for test, seconds in self._over.items():
            terminalreporter.write_line(
                f"OVER BUDGET {test}: {seconds:.1f} s of the processor; a test of more than "
                f"{self._budget:g} s must carry the mark `slow`",
                red=True,
            )


def pytest_configure(config):
    """Reports, but not in the workers of xdist."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Report(config.getoption("--budget")), "budget-report")
