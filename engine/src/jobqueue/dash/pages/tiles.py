"""The figures above the list: five tiles, and two charts of the jobs that ended lately."""

from collections.abc import Callable
from datetime import datetime, tzinfo
from typing import Any

import dash_mantine_components as dmc
from dash import Output, html
from dash.development.base_component import Component

from jobqueue.dash.formatting import hour, plural, span, zone_name
from jobqueue.dash.pages.text import spoken
from jobqueue.monitoring.figures import Figures, Stretch
from jobqueue.monitoring.search import MOST

TILES = {
    "queued": ("Queued", "?state=queued"),
    "running": ("Running", "?state=running"),
    "failed": ("Failed in 24 h", "?state=failed&time=day"),
    "waits": ("Oldest wait", "?state=queued"),
    "workers": ("Workers alive", "?tab=workers"),
}


def tiles(address: Callable[[str], str], with_workers: bool) -> Component:
    """Return the tiles without their numbers, which a callback puts in place. A tile keeps the keyboard's focus that way.

    :param address: makes an address of the jobs page from a query.
    :param with_workers: show the number of workers, with a link to their tab. It is there in any case, for the callback.
    """
    shown = [
        dmc.Paper(
            [dmc.Text(label, size="sm", c="dimmed"), dmc.Text("…", size="xl", fw=600, id=f"jobs-tile-{name}")],
            withBorder=True,
            p="sm",
        )
        for name, (label, _) in TILES.items()
    ]
    return dmc.SimpleGrid(
        [
            dmc.Anchor(tile, href=address(where), refresh=False, underline="never", c="inherit")
            if with_workers or name != "workers"
            else html.Div(tile, hidden=True)
            for tile, (name, (_, where)) in zip(shown, TILES.items(), strict=True)
        ],
        cols={"base": 2, "xs": 3, "md": 5},
        spacing="xs",
    )


def outputs() -> list[Output]:
    """Return the outputs for the values of `values`."""
    return [Output(f"jobs-tile-{name}", part) for name in TILES for part in ("children", "c")]


def values(figures: Figures, alive: int) -> list[str]:
    """Return for each tile its number and colour.

    :param alive: number of workers.
    """
    waits = "none" if figures.waits_s is None else span(figures.waits_s)
    return [
        *(_many(figures.queued), "inherit"),
        *(_many(figures.running), "inherit"),
        *(_many(figures.failed), "red" if figures.failed else "inherit"),
        *(waits, "orange" if (figures.waits_s or 0) > 60 else "inherit"),
        *(str(alive), "inherit" if alive else "red"),
    ]


def _many(count: int) -> str:
    return f"{count:,}" if count < MOST else f"{MOST:,} or more"


def charts(stretches: list[Stretch], window: str, width: float, zone: tzinfo) -> Component:
    """Return the two charts.

    :param stretches: figures of each bar.
    :param window: "hour" or "day".
    :param width: seconds that each bar covers.
    :param zone: of the times.
    """
    data = [
        {
            "at": hour(one.since, zone),
            "succeeded": one.succeeded,
            "failed": one.failed,
            **{f"{name} {which}": round(value, 2) for name, both in (("wait", one.waited), ("run", one.ran)) if both
               for which, value in zip(("p50", "p95"), both, strict=True)},
        }
        for one in stretches
    ]  # fmt: skip
    ended = sum(one.succeeded + one.failed for one in stretches)
    if not ended:
        return dmc.Text(
            f"No job ended in the last {'hour' if window == 'hour' else '24 hours'}.", size="sm", c="dimmed"
        )
    minutes = f"{width / 60:g} min"
    common: dict[str, Any] = {
        "data": data, "dataKey": "at", "h": 150, "withLegend": True, "tickLine": "none", "strokeDasharray": "3 3",
        "xAxisProps": {"minTickGap": 30}, "yAxisProps": {"width": 44}, "legendProps": {"verticalAlign": "top", "height": 30},
    }  # fmt: skip
    lines = [("wait p50", "blue.4"), ("wait p95", "blue.7"), ("run p50", "teal.4"), ("run p95", "teal.7")]
    shown = (
        (
            f"Ended in each {minutes}, in {zone_name(datetime.now(zone))}",
            dmc.BarChart(
                type="stacked",
                series=[{"name": "succeeded", "color": "teal.6"}, {"name": "failed", "color": "red.6"}],
                **common | {"yAxisProps": common["yAxisProps"] | {"allowDecimals": False}},
            ),
        ),
        (
            "Seconds waiting and running: median and 95th percentile",
            dmc.LineChart(
                series=[{"name": name, "color": colour} for name, colour in lines],
                withDots=True, dotProps={"r": 2}, connectNulls=False, curveType="linear", strokeWidth=2, **common,
            )
            if any(one.ran for one in stretches)
            else dmc.Text("No job succeeded in this time.", size="sm"),
        ),
    )  # fmt: skip
    words = f"{plural(ended, 'job')} ended in this time. {sum(one.failed for one in stretches)} of them failed."
    return dmc.SimpleGrid(
        [
            dmc.Paper(
                [
                    dmc.Text(title, size="sm", c="dimmed"),
                    html.Div(chart, role="img", **spoken(label=f"{title}. {words}")),
                ],
                withBorder=True,
                p="xs",
            )
            for title, chart in shown
        ],
        cols={"base": 1, "md": 2},
        spacing="xs",
    )
