"""The path under which stored messages name `Concealed`. Kept for one release, so that workers of both versions read them."""

from jobqueue.dash.callback_updates import Concealed

__all__ = ["Concealed"]
