"""Read by gunicorn, whichever way it is started. Without HOST, only this machine reaches an app in development."""

from jobqueue import logs
from jobqueue.monitoring.workers import code_version

from app.settings import settings

bind = settings.address
logs.configure(settings.json_logs, code_version())
logconfig_dict = logs.configuration(settings.json_logs, code_version())
