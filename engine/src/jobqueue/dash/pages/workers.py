"""The tab of workers: host, current job, uptime, memory and code version of each."""

from datetime import UTC, datetime

import dash_mantine_components as dmc
from dash.development.base_component import Component

from jobqueue.dash.formatting import ago, size, span
from jobqueue.dash.pages.text import link, nothing, table
from jobqueue.monitoring.workers import Worker


def show(workers: list[Worker], address: str) -> Component:
    """Return the table of workers.

    :param address: of a job, with {id} in it.
    """
    if not workers:
        command = dmc.Code("python -m app worker")
        return nothing("No worker is running, so queued jobs wait. Start one:", command)
    heads = ["Worker", "Job", "Host", "Seen", "Up", "Memory", "Code"]  # a phone shows the first without scrolling
    return table(heads, [_row(worker, address) for worker in workers], "Workers", width=700)


def _row(worker: Worker, address: str) -> list[Component | str]:
    now = datetime.now(UTC)
    job: Component | str = dmc.Text("idle", size="sm", c="dimmed")
    if worker.job is not None and worker.task is not None:
        job = dmc.Text(link(worker.task.rpartition(".")[2], address.format(id=worker.job)), size="sm")
    if worker.draining:
        job = dmc.Group([job, dmc.Badge("draining", color="yellow", variant="light")], gap="xs")
    return [
        f"{worker.name} (pid {worker.pid})",
        job,
        worker.host,
        ago((now - worker.seen_at).total_seconds()),
        span((now - worker.started_at).total_seconds()),
        size(worker.memory),
        (worker.version or "-")[:12],
    ]
