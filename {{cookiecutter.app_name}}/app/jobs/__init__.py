"""The app's queue. Workers import every module of this package; a job is a function with `@huey.task()` above it.

Pages import these modules too, so import heavy packages (skfolio, scikit-learn) inside the task: only workers load them.
"""

from jobqueue import DurableHuey

from app.settings import project, settings

huey = DurableHuey(project.name, **settings.for_queue(), tasks_in=__name__, dash_app="app.web")
