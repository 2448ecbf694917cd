"""Tell whether this process is a notebook's kernel."""

import sys


def in_kernel() -> bool:
    """Return whether this process is the kernel of a notebook. Does not import IPython."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None
