"""The charts of the example as plain dicts, so that the web process needs none of Plotly's Python classes.

Dash shows them as they are, and `go.Figure(chart)` makes an object of one. They have no background and grey lines.
assets/charts.css colours their text like the page, light or dark.
"""

from collections.abc import Sequence
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.portfolio import statistics
from app.portfolio.universe import NAMES

Chart = dict[str, Any]
Days = NDArray[np.datetime64]
Floats = NDArray[np.float64]

GRID = "rgba(134, 142, 150, 0.25)"
GREY = "#868e96"
COLOURS = ("#228be6", GREY, "#fd7e14")  # the analysis, the index, the analysis to compare with
NAME = (0.17, 0.05)  # size of an asset's name, as a share of the points' width and height on a phone
PALETTE = (
    *("#228be6", "#fd7e14", "#40c057", "#e64980", "#7950f2", "#15aabf", "#fab005", "#fa5252", "#82c91e", "#be4bdb"),
    *("#74c0fc", "#ffc078", "#8ce99a", "#faa2c1", "#b197fc", "#66d9e8", "#ffe066", "#ffa8a8", "#c0eb75", "#e599f7"),
)


def equity(days: Days, lines: dict[str, Floats]) -> Chart:
    """Draw the value of 1. `lines` are daily returns by name."""
    drawn = {name: statistics.equity(returns)[_weeks(days)] for name, returns in lines.items()}
    return _chart(
        "Growth of 1", _lines(days, drawn, "%{y:.2f}"), yaxis={"type": "log", "dtick": "D2", "tickformat": "~g"}
    )


def drawdown(days: Days, lines: dict[str, Floats]) -> Chart:
    """Draw the drawdown, the deepest of each week."""
    starts = np.concatenate([[0], _weeks(days)[:-1] + 1])
    drawn = {name: np.minimum.reduceat(statistics.drawdown(returns), starts) for name, returns in lines.items()}
    return _chart("Drawdown", _lines(days, drawn, "%{y:.1%}"), yaxis={"tickformat": ".0%"})


def weights(starts: Days, assets: list[str], table: Floats, title: str = "Weights") -> Chart:
    """Draw the weight of each asset by window, the largest at the bottom. Assets that were never held are left out."""
    order = [number for number in np.argsort(-table.mean(axis=0)) if table[:, number].max() > 0.001]
    traces = [
        {
            "x": _text(starts),
            "y": _rounded(table[:, number].clip(0)),
            "name": assets[number],
            "type": "scatter",
            "mode": "lines",
            "stackgroup": "all",
            "line": {"width": 0, "color": colour, "shape": "hv"},
            "fillcolor": colour,
            "hovertemplate": "%{y:.1%}",
        }
        for number, colour in zip(order, cycle(PALETTE), strict=False)
    ]
    return _chart(title, traces, yaxis={"tickformat": ".0%", "range": [0, 1]}, height=420)


def years(days: Days, lines: dict[str, Floats]) -> Chart:
    """Draw the return of each calendar year."""
    traces = []
    for (name, returns), colour in zip(lines.items(), COLOURS, strict=False):
        year, earned = statistics.yearly_returns(days, returns)
        traces.append(
            {
                "x": year.tolist(),
                "y": _rounded(earned),
                "name": name,
                "type": "bar",
                "marker": {"color": colour},
                "hovertemplate": "%{y:.1%}",
            }
        )
    return _chart("Return in each year", traces, yaxis={"tickformat": ".0%"}, bargap=0.25, height=420)


def frontier(portfolios: list[dict[str, Any]], assets: dict[str, dict[str, float]]) -> Chart:
    """Draw return against volatility: the frontier, and each asset alone. A name without room is shown on hover."""
    place = "%{y:.1%} at a volatility of %{x:.1%}<extra></extra>"
    traces: list[dict[str, Any]] = [
        {
            "x": [portfolio["volatility"] for portfolio in portfolios],
            "y": [portfolio["return"] for portfolio in portfolios],
            "name": "Efficient frontier",
            "type": "scatter",
            "mode": "lines+markers",
            "line": {"color": COLOURS[0]},
            "hovertemplate": place,
        },
        {
            "x": [asset["volatility"] for asset in assets.values()],
            "y": [asset["return"] for asset in assets.values()],
            "text": _with_room({symbol: (asset["volatility"], asset["return"]) for symbol, asset in assets.items()}),
            "customdata": [NAMES[symbol] for symbol in assets],
            "name": "Single assets",
            "type": "scatter",
            "mode": "markers+text",
            "textposition": "top center",
            "marker": {"color": GREY},
            "hovertemplate": "%{customdata}: " + place,
        },
    ]
    return _chart(
        "Return and volatility, a year's",
        traces,
        xaxis={"tickformat": ".0%", "title": {"text": "Volatility"}},
        yaxis={"tickformat": ".0%", "title": {"text": "Return"}},
        hovermode="closest",
        legend={"orientation": "h", "y": -0.2},
        height=480,
    )


def market(days: Days, symbols: Sequence[str], prices: Floats) -> Chart:
    """Draw prices relative to the first day. `prices`: a row per day and a column per asset."""
    traces = [
        {
            "x": _text(days),
            "y": _rounded(prices[:, number] / prices[0, number]),
            "name": symbol,
            "type": "scatter",
            "mode": "lines",
            "line": {"width": 1.5, "color": colour},
            "hovertemplate": f"{NAMES.get(symbol, symbol)}: %{{y:.3f}}<extra></extra>",
        }
        for number, (symbol, colour) in enumerate(zip(symbols, cycle(PALETTE), strict=False))
    ]
    return _chart("Prices, the first day's as 1", traces, hovermode="closest", height=420)


def returns(symbols: Sequence[str], earned: Floats) -> Chart:
    """Draw the return of each asset, the best at the top."""
    order = np.argsort(earned)
    trace = {
        "x": _rounded(earned[order]),
        "y": [symbols[number] for number in order],
        "type": "bar",
        "orientation": "h",
        "marker": {"color": [COLOURS[0] if earned[number] >= 0 else COLOURS[2] for number in order]},
        "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
    }
    return _chart("Returns", [trace], xaxis={"tickformat": ".0%"}, hovermode="closest", height=420)


def shares(symbols: Sequence[str], weights: Floats, low: Floats, high: Floats) -> Chart:
    """Draw the weight of each asset, the largest at the top, with a line from `low` to `high`."""
    order = np.argsort(weights)
    trace = {
        "x": _rounded(weights[order]),
        "y": [symbols[number] for number in order],
        "type": "bar",
        "orientation": "h",
        "marker": {"color": COLOURS[0]},
        "error_x": {
            "symmetric": False,
            "array": _rounded((high - weights).clip(0)[order]),
            "arrayminus": _rounded((weights - low).clip(0)[order]),
            "color": GREY,
            "thickness": 1.5,
        },
        "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
    }
    return _chart(
        "Weights", [trace], xaxis={"tickformat": ".0%", "rangemode": "tozero"}, hovermode="closest", height=420
    )


def correlations(symbols: Sequence[str], table: Floats) -> Chart:
    """Draw the correlations of the assets: blue if positive, orange if negative."""
    trace = {
        "x": list(symbols),
        "y": list(symbols),
        "z": [_rounded(row) for row in table],
        "type": "heatmap",
        "zmin": -1,
        "zmax": 1,
        "colorscale": [[0, COLOURS[2]], [0.5, "rgba(134, 142, 150, 0.08)"], [1, COLOURS[0]]],
        "hovertemplate": "%{y} and %{x}: %{z:.2f}<extra></extra>",
        "colorbar": {"thickness": 10, "outlinewidth": 0, "len": 0.9},
    }
    return _chart(
        "Correlations of daily returns",
        [trace],
        xaxis={"showgrid": False},
        yaxis={"autorange": "reversed", "showgrid": False},
        hovermode="closest",
        height=420,
    )


def _weeks(days: Days) -> NDArray[np.intp]:
    """Return the last day of each week. Decades of days are more points than a screen has pixels."""
    week = days.astype("datetime64[W]").astype(np.int64)
    return np.append(np.flatnonzero(np.diff(week)), len(days) - 1)


def _lines(days: Days, lines: dict[str, Floats], hover: str) -> list[dict[str, Any]]:
    x = _text(days[_weeks(days)])
    return [
        {
            "x": x,
            "y": _rounded(y),
            "name": name,
            "type": "scatter",
            "mode": "lines",
            "line": {"color": colour, "width": 1.5},
            "hovertemplate": hover,
        }
        for (name, y), colour in zip(lines.items(), COLOURS, strict=False)
    ]


def _with_room(places: dict[str, tuple[float, float]]) -> list[str]:
    """Return the names to write at these places, empty where a name would overlap another, even on a phone."""
    points = np.array(list(places.values()))
    points = points / np.ptp(points, axis=0).clip(1e-9)
    written: list[int] = []
    for number, point in enumerate(points):
        if all((np.abs(point - points[other]) > NAME).any() for other in written):
            written.append(number)
    return [name if number in written else "" for number, name in enumerate(places)]


def _chart(title: str, traces: list[dict[str, Any]], **layout: Any) -> Chart:
    axis = {"gridcolor": GRID, "zerolinecolor": GRID, "automargin": True}
    return {
        "data": traces,
        "layout": {
            "title": {"text": title, "x": 0, "xref": "paper", "font": {"size": 16}},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"color": GREY, "family": "inherit"},
            "margin": {"l": 48, "r": 8, "t": 40, "b": 32},
            "height": 340,
            "hovermode": "x unified",
            "legend": {"orientation": "h", "y": -0.12},
            **layout,
            "xaxis": {**axis, **layout.get("xaxis", {})},
            "yaxis": {**axis, **layout.get("yaxis", {})},
        },
    }


def _text(days: Days) -> list[str]:
    return list(np.datetime_as_string(days, unit="D"))


def _rounded(values: Floats) -> list[float]:
    rounded: list[float] = values.round(4).tolist()
    return rounded
