"""The constants for pages match the bundled prices."""

from datetime import timedelta

from app.portfolio import prices, universe


def test_the_constants_match_the_data() -> None:
    returns = prices.load_returns(universe.SYMBOLS)
    assert len(returns) == universe.DAYS
    assert returns.index[0].date() == universe.FIRST_DAY + timedelta(days=1)
    assert returns.index[-1].date() == universe.LAST_DAY
    assert not returns.isna().any().any()


def test_there_are_no_other_symbols() -> None:
    from skfolio.datasets import load_sp500_dataset

    assert tuple(load_sp500_dataset().columns) == universe.SYMBOLS


def test_the_index_has_the_same_days() -> None:
    assert prices.load_index_returns().index.equals(prices.load_returns(["XOM"]).index)
