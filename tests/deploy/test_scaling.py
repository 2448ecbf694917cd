"""The query by which KEDA scales workers, on a queue's real tables."""

import psycopg
import pytest
import yaml

from jobqueue import DurableHuey
from tests.baking import Bake
from tests.deploy.web_process import KEY

pytestmark = pytest.mark.long

WHERE = ") AS work"
ENDED = """
INSERT INTO jobs (id, task, queue, state, priority, message, queued_at, retries, retry_delay, attempt, losses, returns, counted,
                  pending, note, error, created_at, ended_at)
SELECT 'ended-' || n, task, queue, 'succeeded', priority, message, queued_at, 0, 0, 1, 0, 0, true, 0, '', '', created_at, 0
FROM jobs, generate_series(1, 20000) AS n WHERE id = %s
"""


@pytest.fixture
def query(bake: Bake) -> str:
    app = bake("blank", deploy="kubernetes")
    scaled = yaml.safe_load(app.joinpath("kubernetes/overlays/production/scaling.yaml").read_text())
    return str(scaled["spec"]["triggers"][0]["metadata"]["query"])


def test_workers_are_scaled_by_the_jobs_that_run_wait_or_are_due_in_their_queues(
    query: str, fresh_postgres: str
) -> None:
    huey = DurableHuey("desk", fresh_postgres, secret_key=KEY)

    @huey.task(queue="heavy")
    def heavy() -> None: ...

    @huey.task()
    def light() -> None: ...

    first = light()
    light(), heavy(), heavy()
    due, _later, ended = light.schedule(delay=3600), heavy.schedule(delay=3600), heavy()
    ended.cancel()
    with psycopg.connect(fresh_postgres, autocommit=True) as connection:
        connection.execute("UPDATE jobs SET run_at = run_at - 7200 WHERE id = %s", [due.id])
        connection.execute("UPDATE jobs SET state = 'running', turn = 1 WHERE id = %s", [first.id])
        connection.execute(ENDED, [ended.id])
        connection.execute("ANALYZE jobs")

        def count(query: str) -> int:
            (row,) = connection.execute(query.encode()).fetchall()
            return int(row[0])

        in_heavy = query.replace(WHERE, f"{WHERE} WHERE queue IN ('heavy')")
        assert (count(query), count(in_heavy)) == (5, 2)
        plans = [str(connection.execute(f"EXPLAIN {each}".encode()).fetchall()) for each in (query, in_heavy)]
        assert not [plan for plan in plans if "Seq Scan" in plan]
    huey.storage.close()
