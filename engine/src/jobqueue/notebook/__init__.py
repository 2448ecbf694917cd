"""The queue in a notebook, and the app inline.

Example::

    from jobqueue.notebook import queue, show

    @queue.task(retries=2)
    def total_sales(region: str) -> float: ...

    queue.watch(total_sales("north"))
"""

from jobqueue.notebook.queue import NotebookQueue
from jobqueue.notebook.show import show

__all__ = ["NotebookQueue", "queue", "show"]

queue = NotebookQueue()
