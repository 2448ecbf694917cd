"""The rules for an analysis's arguments, by field."""

import pytest

from app.portfolio import request
from app.portfolio.universe import DAYS, SYMBOLS

SENSIBLE = {"assets": list(SYMBOLS), "risk": "cvar", "training": 1260, "rebalance": 21, "cap": 1.0}


def test_the_defaults_make_sense() -> None:
    assert request.errors(**SENSIBLE) == {}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"assets": []}, "assets", "Choose at least one asset."),
        ({"assets": None}, "assets", "Choose at least one asset."),
        ({"assets": "AAPL"}, "assets", "Choose at least one asset."),
        ({"assets": ["AAPL", "TSLA"]}, "assets", "There are no prices of TSLA."),
        ({"assets": [["AAPL"]]}, "assets", "There are no prices of"),
        ({"assets": ["AAPL", "AAPL"]}, "assets", "Choose each asset once."),
        ({"risk": "luck"}, "risk", "Choose one of cvar, variance; this is 'luck'."),
        ({"risk": None}, "risk", "Choose one of"),
        ({"risk": []}, "risk", "Choose one of"),
        ({"training": ""}, "training", "Enter a whole number of trading days."),
        ({"training": "many"}, "training", "Enter a whole number of trading days."),
        ({"training": 1260.5}, "training", "Enter a whole number of trading days."),
        ({"training": True}, "training", "Enter a whole number of trading days."),
        ({"training": 10}, "training", "Enter between 60 and"),
        ({"training": DAYS}, "training", f"Enter between 60 and {DAYS - 1} trading days; this is {DAYS}."),
        ({"training": DAYS - 5}, "training", f"Train on {DAYS - 21} days at most."),
        ({"rebalance": 0}, "rebalance", "Enter between 1 and 252"),
        ({"rebalance": None}, "rebalance", "Enter a whole number of trading days."),
        ({"cap": 0}, "cap", "Enter more than 0 and up to 100 %; this is 0 %."),
        ({"cap": 1.5}, "cap", "this is 150 %."),
        ({"cap": "half"}, "cap", "Enter a number."),
        ({"cap": float("nan")}, "cap", "Enter a number."),
        ({"cap": 0.04}, "cap", "20 assets of 4 % at most add up to 80 %, not to 100 %. Allow 5 % or more"),
        ({"assets": ["AAPL"], "cap": 0.5}, "cap", "1 assets of 50 % at most add up to 50 %"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_field(changes: dict[str, object], field: str, words: str) -> None:
    found = request.errors(**(SENSIBLE | changes))
    assert list(found) == [field]
    assert words in found[field]


@pytest.mark.parametrize(
    ("content", "assets"),
    [
        (b"ticker,weight\nAAPL,0.5\nKO,0.5\n", ["AAPL", "KO"]),
        ("\ufeffName;Symbol\r\nApple; aapl\r\n\r\nCoca-Cola;KO\r\nagain;KO\r\n".encode(), ["AAPL", "KO"]),
        (b"AAPL\nKO", ["AAPL", "KO"]),
        (b"", "Choose at least one asset."),
        (b"ticker\n", "Choose at least one asset."),
        (b"AAPL\nTSLA", "There are no prices of TSLA. Choose from: AAPL,"),
        (b"PK\x03\x04\xff", "This is not a CSV file in UTF-8."),
    ],
    ids=range(7),
)
def test_the_assets_of_a_file_are_read_or_it_is_refused(content: bytes, assets: list[str] | str) -> None:
    if isinstance(assets, list):
        assert request.assets_in(content) == assets
    else:
        with pytest.raises(ValueError, match=f"^{assets}"):
            request.assets_in(content)


@pytest.mark.parametrize("changes", [{"cap": 0.05}, {"training": DAYS - 21}, {"assets": ["AAPL"]}], ids=str)
def test_limits_are_accepted(changes: dict[str, object]) -> None:
    assert request.errors(**(SENSIBLE | changes)) == {}


def test_all_errors_are_reported_at_once() -> None:
    with pytest.raises(ValueError, match=r"assets: Choose at least one asset\. training: Enter a whole number"):
        request.check(**(SENSIBLE | {"assets": [], "training": None}))


def test_arguments_fit_in_one_line() -> None:
    words = request.in_words(SENSIBLE | {"assets": ["AAPL", "XOM"], "cap": 0.125})
    assert words == "AAPL, XOM · CVaR at 95 % · trained on 1260 days, held for 21 · 12.5 % at most"
