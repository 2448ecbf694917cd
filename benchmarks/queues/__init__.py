"""The queues of the benchmark, each set up with four workers as its docs say for jobs that must not be lost.

Each queue is a module with these five names. Its servers are in BENCH_DATABASE_URL and BENCH_REDIS_URL:

- `CONSUMER`: the command that starts the workers, beginning with the program's name. `PROCESSES` is the number of such
  processes, if one is not enough.
- `prepare()`: create the tables, if the queue has any.
- `submit(*args)`: submit `benchmarks.work.work(*args)`, and return the argument for `wait`.
- `wait(submitted)`: wait for the result in the way that the queue's docs recommend.
- `kept()`: return the number of jobs that the queue still holds and that have not ended. It may still rescue them.
"""

WORKERS = 4
PATIENCE = 60  # seconds to wait for a result
