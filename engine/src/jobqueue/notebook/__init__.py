"""The queue in a notebook, and the app inline.

Example::

    from jobqueue.notebook import queue, show

    @queue.task(retries=2)
    def total_sales(region: str) -> float: ...

    queue.watch(total_sales("north"))
"""

from jobqueue.notebook.queue import NotebookQueue

__all__ = ["NotebookQueue", "queue"]

queue = NotebookQueue()
