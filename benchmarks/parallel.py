"""How much faster the example's analysis is by Dask on two processors: `python -m benchmarks.parallel`.

It runs each in a process of its own, which imports everything anew, as a worker does for its first job. It exits with 1 if the
weights differ, or if the median of five pairs is below AT_LEAST.
"""

import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np

TEMPLATE = Path(__file__).parents[1] / "{{cookiecutter.app_name}}"
PAIRS = 5
AT_LEAST = 1.5  # times as fast on two processors
SAME = 1e-6  # difference of weights up to which they are the same

ANALYSE = """
import json, sys, time
import dask.system
dask.system.CPU_COUNT = int(sys.argv[1])
from app.jobs.analysis import analyse
began = time.monotonic()
result = analyse.call_local()
print(json.dumps([time.monotonic() - began, result["weights"].tolist()]))
"""


def main() -> None:
    ratios = []
    for number in range(1, PAIRS + 1):
        (alone, expected), (parallel, weights) = analysis(1), analysis(2)
        assert np.abs(np.array(weights) - np.array(expected)).max() < SAME, "the weights differ"
        ratios.append(alone / parallel)
        print(
            f"pair {number}: {alone:.1f} s alone, {parallel:.1f} s by Dask, {ratios[-1]:.2f} times as fast", flush=True
        )
    median = statistics.median(ratios)
    print(f"An analysis of {len(weights)} windows is {median:.2f} times as fast by Dask on two processors (median).")
    sys.exit(median < AT_LEAST)


def analysis(processors: int) -> tuple[float, list[list[float]]]:
    """Return the seconds that the analysis takes as on a machine with so many processors, and its weights."""
    command = [sys.executable, "-c", ANALYSE, str(processors)]
    run = subprocess.run(command, cwd=TEMPLATE, stdout=subprocess.PIPE, check=True)
    seconds, weights = json.loads(run.stdout.splitlines()[-1])
    return seconds, weights


if __name__ == "__main__":
    main()
