"""Who works: on which host, since when, on what, with how much memory and which code."""

from datetime import UTC, datetime

import dash_mantine_components as dmc
from dash.development.base_component import Component

from jobqueue.dash.formatting import ago, size, span
from jobqueue.dash.pages.text import link, nothing, table
from jobqueue.monitoring.workers import Worker


def show(workers: list[Worker], address: str) -> Component:
    """`address`: of a job, with {id} in it."""
    if not workers:
        command = dmc.Code("python -m app worker")
        return nothing("No worker was seen lately, so nothing that is queued runs. Start some:", command)
    heads = ["Worker", "Runs", "Host", "Seen", "Up", "Memory", "Code"]  # on a phone the first are seen
    return table(heads, [_row(worker, address) for worker in workers], "Workers", width=700)


def _row(worker: Worker, address: str) -> list[Component | str]:
    now = datetime.now(UTC)
    runs: Component | str = dmc.Text("idle", size="sm", c="dimmed")
    if worker.job is not None and worker.task is not None:
        runs = dmc.Text(link(worker.task.rpartition(".")[2], address.format(id=worker.job)), size="sm")
    if worker.draining:
        drains = dmc.Badge("draining", color="yellow", variant="light")
        runs = dmc.Group([runs, drains], gap="xs")
    return [
        f"{worker.name} (pid {worker.pid})",
        runs,
        worker.host,
        ago((now - worker.seen_at).total_seconds()),
        span((now - worker.started_at).total_seconds()),
        size(worker.memory),
        (worker.version or "-")[:12],
    ]
