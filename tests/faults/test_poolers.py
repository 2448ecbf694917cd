"""Tests that a waiting job starts soon behind each kind of pooler."""

import random
import statistics
import time
from types import SimpleNamespace

import pytest

from jobqueue import DurableHuey
from tests.faults.conftest import StartConsumer
from tests.faults.test_queues import seconds_to_begin
from tests.pgbouncer import CLIENT_MODES
from tests.storages import Storage

JOBS = 15
WITH_REDIS, WITHOUT = 0.01, 0.1  # seconds


@pytest.mark.alone
@pytest.mark.long
@pytest.mark.parametrize(
    "storage", [f"pgbouncer-{mode}{redis}" for mode in CLIENT_MODES for redis in ("", "+valkey")], indirect=True
)
def test_a_job_starts_soon_behind_a_pooler(
    huey: DurableHuey, storage: Storage, start: StartConsumer, tasks: SimpleNamespace, dice: random.Random
) -> None:
    start(workers=2)
    waited = []
    for number in range(JOBS):
        handle = tasks.quick(number)
        handle.get(blocking=True, timeout=30)
        waited.append(seconds_to_begin(huey, handle))
        time.sleep(dice.uniform(0, 0.3))  # the workers are idle again, and the next job comes at any moment
    print(f"median {1000 * statistics.median(waited):.1f} ms, most {1000 * max(waited):.1f} ms")
    assert statistics.median(waited) <= (WITHOUT if storage.redis_url is None else WITH_REDIS)
