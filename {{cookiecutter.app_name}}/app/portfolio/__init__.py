"""The example's domain: pure functions, which know neither Dash nor the queue.

`universe`, `request`, `statistics` and `figures` are light, and pages use them. What fits a portfolio imports skfolio inside
its functions: only a worker, or a notebook, ever pays for that.
"""
