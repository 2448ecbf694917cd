"""The rules for an analysis's arguments. The page and the job use the same ones."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Any

from app.portfolio.universe import DAYS, DAYS_PER_YEAR, SYMBOLS

RISKS = {"cvar": "CVaR at 95 %", "variance": "Variance"}
MIN_TRAINING = 60  # days. With fewer, twenty assets are fitted to noise
TICKERS = ("ticker", "symbol", "asset")  # names of the column with the assets in a file
WHOLE_NUMBER = "Enter a whole number of trading days."


def errors(assets: Any, risk: Any, training: Any, rebalance: Any, cap: Any) -> dict[str, str]:
    """Return an error for each wrong field, or an empty dict.

    :param assets: symbols.
    :param risk: a key of RISKS.
    :param training: trading days that each portfolio is fitted to.
    :param rebalance: trading days that it is held.
    :param cap: the largest weight of one asset, above 0 and up to 1.
    """
    found = {
        "assets": _assets(assets),
        "risk": ""
        if isinstance(risk, str) and risk in RISKS
        else f"Choose one of {', '.join(RISKS)}; this is {risk!r}.",
        "training": _days(training, MIN_TRAINING, DAYS - 1),
        "rebalance": _days(rebalance, 1, DAYS_PER_YEAR),
        "cap": _cap(cap),
    }
    if not found["training"] and not found["rebalance"] and training + rebalance > DAYS:
        found["training"] = (
            f"{training} days of training and {rebalance} days of holding do not fit into the {DAYS} days of history. "
            f"Train on {DAYS - rebalance} days at most."
        )
    if not found["assets"] and not found["cap"] and cap * len(assets) < 1 - 1e-9:
        found["cap"] = (
            f"{len(assets)} assets of {100 * cap:g} % at most add up to {100 * cap * len(assets):g} %, not to 100 %. "
            f"Allow {100 / len(assets):.4g} % or more, or choose more assets."
        )
    return {field: message for field, message in found.items() if message}


def assets_in(content: bytes) -> list[str]:
    """Return the assets that a CSV file names, in its column "ticker", "symbol" or "asset", or else in its first column.

    Raises ValueError with a sentence for the user if it is no such file, or names an asset without prices.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()
        rows = list(csv.reader(lines, delimiter=";" if lines and ";" in lines[0] else ","))
    except (UnicodeDecodeError, csv.Error):
        raise ValueError("This is not a CSV file in UTF-8. Save the table as CSV, and choose that file.") from None
    heads = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = next((heads.index(name) for name in TICKERS if name in heads), None)
    listed = rows if column is None else rows[1:]
    cells = (row[column or 0].strip().upper() for row in listed if len(row) > (column or 0))
    assets = list(dict.fromkeys(cell for cell in cells if cell))
    if error := _assets(assets):
        raise ValueError(error)
    return assets


def in_words(request: dict[str, Any]) -> str:
    """Return the arguments in one line. `request` has the arguments of `errors`."""
    assets = request["assets"]
    which = ", ".join(assets) if len(assets) <= 5 else f"{len(assets)} assets"
    return (
        f"{which} · {RISKS[request['risk']]} · trained on {request['training']} days, held for {request['rebalance']} · "
        f"{100 * request['cap']:.4g} % at most"
    )


def check(**request: Any) -> None:
    """Raise ValueError with all errors of a request."""
    if found := errors(**request):
        raise ValueError(" ".join(f"{field}: {message}" for field, message in found.items()))


def _assets(assets: Any) -> str:
    if not isinstance(assets, Sequence) or isinstance(assets, str) or not assets:
        return "Choose at least one asset."
    if unknown := [str(asset) for asset in assets if asset not in SYMBOLS]:
        return f"There are no prices of {', '.join(unknown)}. Choose from: {', '.join(SYMBOLS)}."
    if len(set(assets)) < len(assets):
        return "Choose each asset once."
    return ""


def _days(days: Any, least: int, most: int) -> str:
    if not isinstance(days, int) or isinstance(days, bool):
        return WHOLE_NUMBER
    if not least <= days <= most:
        return f"Enter between {least} and {most} trading days; this is {days}."
    return ""


def _cap(cap: Any) -> str:
    if not isinstance(cap, int | float) or isinstance(cap, bool) or cap != cap:
        return "Enter a number."
    if not 0 < cap <= 1:
        return f"Enter more than 0 and up to 100 %; this is {100 * cap:g} %."
    return ""
