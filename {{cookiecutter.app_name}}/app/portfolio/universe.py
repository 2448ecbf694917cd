"""The assets and days of the bundled prices, as constants that pages read without loading skfolio.

A test compares them with the data.
"""

from datetime import date

NAMES = {
    "AAPL": "Apple",
    "AMD": "Advanced Micro Devices",
    "BAC": "Bank of America",
    "BBY": "Best Buy",
    "CVX": "Chevron",
    "GE": "General Electric",
    "HD": "Home Depot",
    "JNJ": "Johnson & Johnson",
    "JPM": "JPMorgan Chase",
    "KO": "Coca-Cola",
    "LLY": "Eli Lilly",
    "MRK": "Merck",
    "MSFT": "Microsoft",
    "PEP": "PepsiCo",
    "PFE": "Pfizer",
    "PG": "Procter & Gamble",
    "RRC": "Range Resources",
    "UNH": "UnitedHealth",
    "WMT": "Walmart",
    "XOM": "Exxon Mobil",
}
SYMBOLS = tuple(NAMES)
INDEX_NAME = "S&P 500"

FIRST_DAY = date(1990, 1, 2)
LAST_DAY = date(2022, 12, 28)
DAYS = 8312  # days with a return, one fewer than days with a price

DAYS_PER_YEAR = 252  # trading days, by convention
