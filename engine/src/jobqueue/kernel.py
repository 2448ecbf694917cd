"""Tell whether this process is a notebook's kernel."""

import sys

# Origins that may frame the pages of an app that a kernel serves, as a Content-Security-Policy names them.
NOTEBOOKS = "'self' http://localhost:* http://127.0.0.1:* vscode-webview:"


def in_kernel() -> bool:
    """Return whether this process is the kernel of a notebook. Does not import IPython."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None
