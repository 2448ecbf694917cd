"""Read by gunicorn, whichever way it is started."""

import sys

from app.settings import settings

bind = settings.address  # without HOST, only this machine reaches an app in development

# Dash imports IPython if it is installed, for notebooks. A web process is none, and takes 10 MB less without it.
sys.modules.setdefault("IPython", None)  # type: ignore[arg-type]
