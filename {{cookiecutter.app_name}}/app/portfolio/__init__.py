"""The example's domain: pure functions that import neither Dash nor the queue.

Pages use `universe`, `request`, `statistics` and `figures`, which are light. Functions that fit a portfolio import skfolio
inside, so that only workers and notebooks load it.
"""
