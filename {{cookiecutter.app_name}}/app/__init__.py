"""The app: pages, the jobs behind them, and the command line."""
