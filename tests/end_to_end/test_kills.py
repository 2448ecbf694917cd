"""Tests of kills during the portfolio analysis in a baked app."""

import contextlib
import os
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest

from jobqueue import DurableHuey, JobHandle, State
from tests.end_to_end.running import RunningApp, wait_until

ANALYSIS = {"risk": "cvar", "training": 504, "rebalance": 63, "cap": 0.4}
WINDOWS = 123

# Notes outside the ledger which process computed each window. The worker imports this module like every job.
TRACED = """
import os
from pathlib import Path
from app.portfolio import walk_forward

fit_window = walk_forward.fit_window

def traced(returns, window, *rest):
    with open(Path(__file__).parents[2] / "trace", "a") as trace:
        trace.write(f"{window.split} {os.getpid()}\\n")
    return fit_window(returns, window, *rest)

walk_forward.fit_window = traced
"""

UNDISTURBED = f"""
import numpy
from app.jobs.analysis import analyse
numpy.save("undisturbed.npy", analyse.call_local(**{ANALYSIS!r})["weights"])
"""


class Analysis:
    """An analysis in a running app, observed from outside."""

    def __init__(self, app: RunningApp) -> None:
        self.app, self.folder = app, app.folder
        Path(app.folder, "app", "jobs", "traced.py").write_text(TRACED)
        ledger = Path(app.folder, "var", "jobs.sqlite")
        self.huey = DurableHuey("seen", f"sqlite:///{ledger}")
        self.handle: JobHandle

    def submit(self) -> None:
        call = f"from app.jobs.analysis import analyse; print(analyse(**{ANALYSIS!r}).id)"
        job_id = subprocess.check_output([sys.executable, "-c", call], cwd=self.folder, text=True).strip()
        self.handle = self.huey.job(job_id)

    def trace(self) -> list[tuple[int, int]]:
        """Return the window and process id of each computation, in the order of their starts."""
        with contextlib.suppress(FileNotFoundError):
            lines = Path(self.folder, "trace").read_text().splitlines()
            return [(int(window), int(pid)) for window, pid in map(str.split, lines)]
        return []

    def reaches(self, windows: int) -> None:
        wait_until(lambda: len(self.trace()) >= windows, f"window {windows} is begun", timeout=60)

    def ends(self, timeout: float = 120) -> None:
        wait_until(lambda: self.handle.state.ended, lambda: f"the job ends; it is {self.handle.get_job()}", timeout)
        assert self.handle.state is State.SUCCEEDED, self.handle.get_job()

    def repeated(self) -> int:
        """Return the number of repeated computations of windows."""
        counts = Counter(window for window, _ in self.trace())
        assert len(counts) == WINDOWS
        print(self.app.log.read_text()[-6000:])
        print(
            self.handle.get_job(), [(w, pid) for w, pid in self.trace() if counts[w] > 1]
        )  # shown when the test fails
        return sum(count - 1 for count in counts.values())


@pytest.fixture
def analysis(app: RunningApp) -> Analysis:
    return Analysis(app)


@pytest.mark.alone
def test_killed_worker_repeats_only_its_current_window(app: RunningApp, analysis: Analysis) -> None:
    app.start()
    analysis.submit()
    for attempt, windows in enumerate([WINDOWS // 3, WINDOWS * 2 // 3], start=1):
        analysis.reaches(windows)
        before = len(analysis.trace())
        os.kill(analysis.trace()[-1][1], 9)
        killed = time.monotonic()
        wait_until(lambda: analysis.handle.get_job().attempt > attempt, "claimed again", timeout=1)  # noqa: B023
        wait_until(lambda: len(analysis.trace()) >= before + 2, "the next window is done", timeout=6)  # noqa: B023
        assert time.monotonic() - killed < 6
    analysis.ends()
    assert analysis.repeated() <= 2
    assert analysis.handle.get_job().losses == 2
    subprocess.run([sys.executable, "-c", UNDISTURBED], cwd=app.folder, check=True)
    weights = analysis.handle.get()["weights"]
    np.testing.assert_allclose(weights, np.load(app.folder / "undisturbed.npy"), rtol=0, atol=1e-9)


@pytest.mark.long
def test_analysis_ends_after_everything_was_killed_and_restarted(app: RunningApp, analysis: Analysis) -> None:
    app.start(LEASE="2")
    analysis.submit()
    analysis.reaches(WINDOWS // 3)
    app.kill()
    app.start(LEASE="2")
    analysis.ends()
    assert analysis.repeated() <= 1


@pytest.mark.long
def test_workers_die_with_their_consumer(app: RunningApp, analysis: Analysis) -> None:
    app.start(LEASE="2")
    analysis.submit()
    analysis.reaches(3)
    worker = psutil.Process(analysis.trace()[-1][1])
    consumer = worker.parent()
    assert consumer is not None
    workers = consumer.children()
    consumer.kill()
    wait_until(lambda: not any(map(runs, workers)), "its workers are gone", timeout=1)
    done = len(analysis.trace())
    app.kill()
    assert len(analysis.trace()) == done


def runs(process: psutil.Process) -> bool:
    """Return whether a process runs. A dead process stays a zombie until its new parent reaps it."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    return False
