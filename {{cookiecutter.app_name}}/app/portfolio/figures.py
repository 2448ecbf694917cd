"""The charts of an analysis. They have no background and grey lines: assets/charts.css gives their text the page's colours,
light or dark.
"""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from app.portfolio import statistics

if TYPE_CHECKING:
    import pandas as pd

GRID = "rgba(134, 142, 150, 0.25)"
GREY = "#868e96"
COLOURS = ("#228be6", GREY, "#fd7e14")  # the analysis, the index, the analysis beside it
PALETTE = ("#228be6", "#fd7e14", "#40c057", "#e64980", "#7950f2", "#15aabf", "#fab005", "#fa5252", "#82c91e", "#be4bdb")


def equity(lines: dict[str, pd.Series]) -> go.Figure:
    """What 1 became: `lines` are daily returns by name."""
    figure = _lines({name: _weekly(statistics.equity(returns)).last() for name, returns in lines.items()}, "%{y:.2f}")
    return _laid_out(figure, "Growth of 1", yaxis={"type": "log", "dtick": "D2", "tickformat": "~g"})


def drawdown(lines: dict[str, pd.Series]) -> go.Figure:
    """How far below the highest value so far, the deepest of each week."""
    figure = _lines({name: _weekly(statistics.drawdown(returns)).min() for name, returns in lines.items()}, "%{y:.1%}")
    return _laid_out(figure, "Drawdown", yaxis={"tickformat": ".0%"})


def weights(table: pd.DataFrame, title: str = "Weights") -> go.Figure:
    """The share of each asset from window to window, the largest at the bottom; those that were never held are left out."""
    held = table.loc[:, table.max() > 0.001]
    order = held.mean().sort_values(ascending=False).index
    figure = go.Figure(
        [
            go.Scatter(
                x=held.index, y=held[asset].clip(lower=0).round(4), name=str(asset), stackgroup="all", mode="lines",
                line={"width": 0, "color": colour, "shape": "hv"}, fillcolor=colour, hovertemplate="%{y:.1%}",
            )
            for asset, colour in zip(order, cycle(PALETTE), strict=False)
        ]
    )  # fmt: skip
    return _laid_out(figure, title, yaxis={"tickformat": ".0%", "range": [0, 1]}, legend={"traceorder": "reversed"})


def years(lines: dict[str, pd.Series]) -> go.Figure:
    """What each calendar year earned."""
    figure = go.Figure()
    for (name, returns), colour in zip(lines.items(), COLOURS, strict=False):
        earned = statistics.yearly_returns(returns)
        figure.add_bar(x=earned.index, y=earned.round(4), name=name, marker_color=colour, hovertemplate="%{y:.1%}")
    return _laid_out(figure, "Return in each year", yaxis={"tickformat": ".0%"}, bargap=0.25)


def frontier(points: pd.DataFrame, assets: pd.DataFrame) -> go.Figure:
    """Return against volatility: the frontier, and each asset by itself."""
    figure = go.Figure(
        [
            go.Scatter(
                x=points["volatility"], y=points["return"], name="Efficient frontier", mode="lines+markers",
                line={"color": COLOURS[0]}, hovertemplate="%{y:.1%} at a volatility of %{x:.1%}<extra></extra>",
            ),
            go.Scatter(
                x=assets["volatility"], y=assets["return"], text=list(assets.index), name="Single assets",
                mode="markers+text", textposition="top center", marker={"color": GREY},
                hovertemplate="%{text}: %{y:.1%} at a volatility of %{x:.1%}<extra></extra>",
            ),
        ]
    )  # fmt: skip
    return _laid_out(
        figure,
        "Expected return and volatility, a year's",
        xaxis={"tickformat": ".0%", "title": "Volatility", "rangemode": "tozero"},
        yaxis={"tickformat": ".0%", "title": "Return", "rangemode": "tozero"},
        hovermode="closest",
        height=480,
    )


def _weekly(values: pd.Series) -> pd.api.typing.Resampler:
    """A point a week: decades of days are more than a screen has pixels."""
    return values.resample("W")


def _lines(lines: dict[str, pd.Series], hover: str) -> go.Figure:
    return go.Figure(
        [
            go.Scatter(x=y.index, y=y.round(4), name=name, mode="lines", line={"color": c, "width": 1.5}, hovertemplate=hover)
            for (name, y), c in zip(lines.items(), COLOURS, strict=False)
        ]
    )


def _laid_out(figure: go.Figure, title: str, **layout: object) -> go.Figure:
    figure.update_layout(
        template="none",
        title={"text": title, "x": 0, "xref": "paper", "font": {"size": 16}},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": GREY, "family": "inherit"},
        margin={"l": 48, "r": 8, "t": 40, "b": 32},
        height=340,
        hovermode="x unified",
        legend={"orientation": "h", "y": -0.12},
    )
    figure.update_layout(layout)
    figure.update_xaxes(gridcolor=GRID, zerolinecolor=GRID, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zerolinecolor=GRID, automargin=True)
    return figure
