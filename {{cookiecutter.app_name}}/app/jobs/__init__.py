"""The app's queue. Workers import every module in this folder. A job is a call of a function with `@huey.task()` above it.

Pages import these modules too, so import heavy libraries (skfolio, scikit-learn) inside the task, where only workers load
them.
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
