"""The app's queue. Workers find every module in this folder; a job is a function with `@huey.task()` above it.

Pages import these modules too, so what is heavy (skfolio, scikit-learn) is imported inside the task, where only a worker gets.
"""

from jobqueue import DurableHuey

from app.about import about
from app.settings import settings

huey = DurableHuey(
    about.name,
    settings.database_url,
    settings.redis_url,
    secret_key=settings.secret_key,
    secret_key_fallbacks=settings.secret_key_fallbacks,
    timezone=settings.timezone,
    place=settings.place,
    lease_s=settings.lease,
    renew_s=settings.lease / 3,
    grace_s=settings.worker_grace,
    max_arguments=settings.max_arguments,
    max_result=settings.max_result,
    unknown_after_s=settings.unknown_after,
    per_owner=settings.per_owner,
    keep_days=settings.keep_days,
    keep_jobs=settings.keep_jobs,
    tasks_in=__name__,
    dash_app="app.web",
)
