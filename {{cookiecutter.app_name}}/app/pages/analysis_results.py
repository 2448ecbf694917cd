"""What came of an analysis, as charts, a table and files. Part of the analysis page; it registers no page of its own."""

from __future__ import annotations

import html as text
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dash_mantine_components as dmc
from dash import dcc
from dash.development.base_component import Component

from app.portfolio import statistics
from app.portfolio.universe import INDEX_NAME

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

THIS, BESIDE = "This analysis", "Beside it"
ROWS = {
    "cagr": ("Growth a year (CAGR)", "{:.1%}"),
    "volatility": ("Volatility, a year's", "{:.1%}"),
    "sharpe": ("Sharpe ratio", "{:.2f}"),
    "sortino": ("Sortino ratio", "{:.2f}"),
    "max_drawdown": ("Deepest drawdown", "{:.1%}"),
    "turnover": ("Turnover a year", "{:.0%}"),
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
    """Four charts and the statistics of an analysis; of two, over the days that both cover."""
    files = [
        dmc.Button(download.label, id=f"analysis-get-{what}", variant="default", size="compact-sm")
        for what, download in DOWNLOADS.items()
    ]
    return dmc.Stack(
        [
            dmc.Grid(
                [
                    dmc.GridCol(_graph(name, figure), span={"base": 12, "lg": 6})
                    for name, figure in charts(result, beside).items()
                ],
                gutter="lg",
            ),
            dmc.TableScrollContainer(_table(figures(result, beside)), minWidth=420),
            dmc.Group(files, gap="xs"),
        ],
        mt="lg",
    )


def charts(result: dict[str, Any], beside: dict[str, Any] | None = None) -> dict[str, go.Figure]:
    from app.portfolio import figures as draw

    lines = _lines(result, beside)
    drawn = {
        "equity": draw.equity(lines),
        "drawdown": draw.drawdown(lines),
        "weights": draw.weights(result["weights"]),
        "years": draw.years(lines),
    }
    if beside:
        drawn["weights-beside"] = draw.weights(beside["weights"], "Weights of the one beside it")
    return drawn


def figures(result: dict[str, Any], beside: dict[str, Any] | None = None) -> pd.DataFrame:
    """The statistics: a row each, a column a portfolio."""
    import pandas as pd

    if not beside:
        own = result["statistics"]
        return pd.DataFrame({THIS: own["portfolio"], INDEX_NAME: own["index"]})
    turnover = {THIS: result["statistics"]["portfolio"]["turnover"], BESIDE: beside["statistics"]["portfolio"]["turnover"]}
    return pd.DataFrame(
        {
            name: statistics.summary(returns, turnover.get(name, math.nan))
            for name, returns in _lines(result, beside).items()
        }
    )


def as_file(what: str, result: dict[str, Any], title: str) -> str:
    """The text of a download."""
    if what == "weights":
        return str(result["weights"].to_csv(index_label="from", date_format="%Y-%m-%d", float_format="%.6f"))
    if what == "returns":
        return str(result["returns"].to_csv(index_label="day", date_format="%Y-%m-%d", float_format="%.8f"))
    if what == "statistics":
        return str(figures(result).to_csv(index_label="statistic"))
    parts = [f"<!doctype html><meta charset=utf-8><title>{text.escape(title)}</title><h1>{text.escape(title)}</h1>"]
    for number, figure in enumerate(charts(result).values()):
        parts.append(figure.to_html(full_html=False, include_plotlyjs=number == 0))  # once, whole: it works offline
    return "\n".join(parts)


def _lines(result: dict[str, Any], beside: dict[str, Any] | None) -> dict[str, pd.Series]:
    """Daily returns by name; with a second analysis, over the days that both cover."""
    returns = result["returns"]
    if not beside:
        return {THIS: returns["portfolio"], INDEX_NAME: returns["index"]}
    other = beside["returns"]["portfolio"].rename("beside")
    shared = returns.join(other, how="inner")
    return {THIS: shared["portfolio"], INDEX_NAME: shared["index"], BESIDE: shared["beside"]}


def _graph(name: str, figure: go.Figure) -> Component:
    return dcc.Graph(id=f"analysis-{name}", figure=figure, config={"displaylogo": False, "responsive": True})


def _table(table: pd.DataFrame) -> Component:
    head = dmc.TableTr([dmc.TableTh(""), *(dmc.TableTh(name, ta="right") for name in table.columns)])
    rows = [
        dmc.TableTr(
            [
                dmc.TableTd(label),
                *(
                    dmc.TableTd("–" if math.isnan(value) else form.format(value), ta="right")
                    for value in table.loc[name]
                ),
            ]
        )
        for name, (label, form) in ROWS.items()
    ]
    return dmc.Table([dmc.TableThead(head), dmc.TableTbody(rows)], maw=720)
