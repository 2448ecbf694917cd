"""The example's analysis by Dask: as fast as two processors allow, with the same weights."""

import json
import statistics
import subprocess
import sys

import pytest

from tests import baking
from tests.engine.consumers import environment

PAIRS = 3
AT_LEAST = 1.5  # times as fast on two processors

# In a process of its own, which imports everything anew, as a worker does for its first job.
ANALYSE = """
import json, sys, time
import dask.system
dask.system.CPU_COUNT = int(sys.argv[1])
from app.jobs.analysis import analyse
began = time.monotonic()
result = analyse.call_local(rebalance=int(sys.argv[2]))
print(json.dumps([time.monotonic() - began, result["weights"].tolist()]))
"""


def analysis(processors: int, rebalance: int) -> tuple[float, list[list[float]]]:
    """Return the seconds that the analysis takes as on a machine with so many processors, and its weights."""
    command = [sys.executable, "-c", ANALYSE, str(processors), str(rebalance)]
    run = subprocess.run(command, cwd=baking.TEMPLATE, env=environment(), stdout=subprocess.PIPE, check=True)
    seconds, weights = json.loads(run.stdout.splitlines()[-1])
    return seconds, weights


@pytest.mark.alone
@pytest.mark.long
def test_analysis_on_two_processors_is_half_as_fast_again() -> None:
    ratios = []
    for _ in range(PAIRS):
        (alone, expected), (parallel, weights) = analysis(1, 21), analysis(2, 21)
        assert len(weights) == 335
        assert (
            max(
                abs(a - b)
                for row, other in zip(expected, weights, strict=True)
                for a, b in zip(row, other, strict=True)
            )
            < 1e-6
        )
        ratios.append(alone / parallel)
        print(f"{alone:.1f} s alone, {parallel:.1f} s by Dask")
    assert statistics.median(ratios) >= AT_LEAST, ratios
