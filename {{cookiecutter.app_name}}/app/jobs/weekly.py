"""The week's report: a notebook that a worker runs every Monday. Its charts and its table are on the job's page."""

from jobqueue import every

from app.jobs import huey

weekly = huey.notebook("notebooks/reports/weekly.ipynb", every("monday at 7:00"), timeout=900, retries=1)
