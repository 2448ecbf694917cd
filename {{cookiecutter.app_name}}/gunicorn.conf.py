"""Read by gunicorn, whichever way it is started. Without HOST, only this machine reaches an app in development."""

from app.settings import settings

bind = settings.address
