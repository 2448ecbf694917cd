"""One module a queue: how its docs have it set up for jobs that must not be lost, with four workers.

Each has the same five things, and takes its servers from the environment (BENCH_DATABASE_URL, BENCH_REDIS_URL):

- `CONSUMER`: the command that starts the workers, the program's own name first; `PROCESSES` of them, where one is not enough.
- `prepare()`: makes its tables, where it has any.
- `submit(*args)`: submits `benchmarks.work.work(*args)`, and returns what `wait` takes.
- `wait(submitted)`: returns once the result is there, the way its docs have a program wait.
- `kept()`: how many jobs it still holds that have not ended: one that it holds may yet be rescued.
"""

WORKERS = 4
PATIENCE = 60  # seconds to wait for a result
