"""The result of an analysis as charts, a table and files. A part of the analysis page."""

import math
from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import dcc
from dash.development.base_component import Component

from app.portfolio import figures, statistics
from app.portfolio.universe import INDEX_NAME

THIS, BESIDE = "This analysis", "Compared with"
ROWS = {
    "cagr": ("Growth per year (CAGR)", "{:.1%}"),
    "volatility": ("Volatility per year", "{:.1%}"),
    "sharpe": ("Sharpe ratio", "{:.2f}"),
    "sortino": ("Sortino ratio", "{:.2f}"),
    "max_drawdown": ("Deepest drawdown", "{:.1%}"),
    "turnover": ("Turnover per year", "{:.0%}"),
}


def report(result: dict[str, Any], beside: dict[str, Any] | None = None) -> Component:
    """Return four charts and the statistics of an analysis. Two analyses are compared over the days that both cover."""
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


def files(result: dict[str, Any]) -> dict[str, Any]:
    """Return what people can download: tables and charts by name. Only a download loads pandas into the web process."""
    import pandas as pd

    daily = {"portfolio": result["portfolio"].round(8), "index": result["index"].round(8)}
    tables = {
        "Weights": pd.DataFrame(
            result["weights"].round(6), pd.Index(result["starts"], name="from"), columns=result["assets"]
        ),
        "Statistics": pd.DataFrame(compare(result)).rename_axis("statistic"),
        "Daily returns": pd.DataFrame(daily, pd.Index(result["days"], name="day")),
    }
    return tables | {f"Chart: {chart['layout']['title']['text']}": chart for chart in charts(result).values()}


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
