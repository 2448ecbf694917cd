"""The path under which stored messages name `Concealed`. Kept for one release, so that workers of both versions read them."""

from jobqueue.dash.request_context import Concealed

__all__ = ["Concealed"]
