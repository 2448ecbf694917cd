"""The result of an analysis as charts, a table and files. A part of the analysis page."""

import csv
import html as text
import io
import itertools
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import dcc
from dash.development.base_component import Component

from app.portfolio import figures, statistics
from app.portfolio.universe import INDEX_NAME

FORMULA = ("=", "+", "-", "@")  # first characters of a spreadsheet formula
THIS, BESIDE = "This analysis", "Compared with"
ROWS = {
    "cagr": ("Growth per year (CAGR)", "{:.1%}"),
    "volatility": ("Volatility per year", "{:.1%}"),
    "sharpe": ("Sharpe ratio", "{:.2f}"),
    "sortino": ("Sortino ratio", "{:.2f}"),
    "max_drawdown": ("Deepest drawdown", "{:.1%}"),
    "turnover": ("Turnover per year", "{:.0%}"),
}


@dataclass(frozen=True)
class Download:
    label: str
    suffix: str


DOWNLOADS = {
    "weights": Download("Weights (CSV)", "csv"),
    "statistics": Download("Statistics (CSV)", "csv"),
    "returns": Download("Daily returns (CSV)", "csv"),
    "charts": Download("Charts (HTML)", "html"),
}


def report(result: dict[str, Any], beside: dict[str, Any] | None = None) -> Component:
    """Return four charts and the statistics of an analysis. Two analyses are compared over the days that both cover."""
    buttons = [
        dmc.Button(download.label, id=f"analysis-get-{what}", variant="default", size="compact-sm")
        for what, download in DOWNLOADS.items()
    ]
    drawn = [
        dmc.GridCol(
            dcc.Graph(id=f"analysis-{name}", figure=chart, config={"displaylogo": False, "responsive": True}),
            span={"base": 12, "lg": 6},
        )
        for name, chart in charts(result, beside).items()
    ]
    return dmc.Stack(
        [
            dmc.TableScrollContainer(_table(compare(result, beside)), minWidth=320),
            dmc.Grid(drawn, gutter="lg"),
            dmc.Group(buttons, gap="xs"),
        ],
        mt="md",
    )


def charts(result: dict[str, Any], beside: dict[str, Any] | None = None) -> dict[str, figures.Chart]:
    """Return the charts by name."""
    days, lines = _lines(result, beside)
    drawn = {
        "equity": figures.equity(days, lines),
        "drawdown": figures.drawdown(days, lines),
        "weights": figures.weights(result["starts"], result["assets"], result["weights"]),
        "years": figures.years(days, lines),
    }
    if beside:
        drawn["weights-beside"] = figures.weights(
            beside["starts"], beside["assets"], beside["weights"], "Weights of the analysis compared with"
        )
    return drawn


def compare(result: dict[str, Any], beside: dict[str, Any] | None = None) -> dict[str, dict[str, float]]:
    """Return the statistics of each portfolio, by name."""
    own = result["statistics"]
    if not beside:
        return {THIS: own["portfolio"], INDEX_NAME: own["index"]}
    turnover = {THIS: own["portfolio"]["turnover"], BESIDE: beside["statistics"]["portfolio"]["turnover"]}
    _, lines = _lines(result, beside)
    return {name: statistics.summary(returns, turnover.get(name, math.nan)) for name, returns in lines.items()}


def as_file(what: str, result: dict[str, Any], title: str) -> str:
    """Return the text of a download."""
    if what == "weights":
        rows = ([start, *weights.round(6)] for start, weights in zip(result["starts"], result["weights"], strict=True))
        return csv_of(["from", *result["assets"]], rows)
    if what == "returns":
        columns = (result["days"], result["portfolio"].round(8), result["index"].round(8))
        return csv_of(["day", "portfolio", "index"], zip(*columns, strict=True))
    if what == "statistics":
        table = compare(result)
        return csv_of(["statistic", *table], ([name, *(column[name] for column in table.values())] for name in ROWS))
    return _page(title, charts(result))


def _lines(result: dict[str, Any], beside: dict[str, Any] | None) -> tuple[figures.Days, dict[str, figures.Floats]]:
    """Return days and daily returns by name. With a second analysis, return the days that both cover."""
    days = result["days"]
    if not beside:
        return days, {THIS: result["portfolio"], INDEX_NAME: result["index"]}
    shared, here, there = np.intersect1d(days, beside["days"], assume_unique=True, return_indices=True)
    return shared, {
        THIS: result["portfolio"][here],
        INDEX_NAME: result["index"][here],
        BESIDE: beside["portfolio"][there],
    }


def _table(columns: dict[str, dict[str, float]]) -> Component:
    head = dmc.TableTr([dmc.TableTh("Statistic"), *(dmc.TableTh(name, ta="right") for name in columns)])
    rows = []
    for name, (label, form) in ROWS.items():
        values = [column[name] for column in columns.values()]
        cells = [dmc.TableTd("–" if math.isnan(value) else form.format(value), ta="right") for value in values]
        rows.append(dmc.TableTr([dmc.TableTd(label), *cells]))
    return dmc.Table([dmc.TableThead(head), dmc.TableTbody(rows)])


def csv_of(head: list[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as CSV. A text that a spreadsheet would run as a formula gets an apostrophe in front."""
    written = io.StringIO()
    writer = csv.writer(written)
    for row in itertools.chain([head], rows):
        writer.writerow(
            f"'{cell}" if isinstance(cell, str) and cell.lstrip().startswith(FORMULA) else cell for cell in row
        )
    return written.getvalue()


def _page(title: str, drawn: dict[str, figures.Chart]) -> str:
    """Return a page that works offline: Plotly's script is in it."""
    script = files("plotly").joinpath("package_data", "plotly.min.js").read_text(encoding="utf-8")
    data = json.dumps(list(drawn.values())).replace("<", "\\u003c")
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{text.escape(title)}</title><h1>{text.escape(title)}</h1>"
        f"<script>{script}</script><script>"
        f"for (const chart of {data}) Plotly.newPlot(document.body.appendChild(document.createElement('div')), chart);"
        "</script>"
    )
