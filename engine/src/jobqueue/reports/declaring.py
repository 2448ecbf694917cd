"""`huey.notebook`: declare a notebook as a task."""

import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from jobqueue.overrides import LedgerHuey
from jobqueue.reports.notebook import Notebook
from jobqueue.reports.report import Report


class ReportTasks(LedgerHuey):
    """The entry points of DurableHuey that make reports."""

    def notebook(
        self,
        path: str | Path,
        schedule: Callable[[datetime], bool] | None = None,
        *,
        code: bool = False,
        pdf: bool = False,
        **options: Any,
    ) -> Any:
        """Return a task that runs a notebook. The job's result is its `Report`.

        Example::

            weekly = huey.notebook("notebooks/reports/weekly.ipynb", every("monday at 7:00"), timeout=900)
            handle = weekly(region="north")  # a parameter: an assignment in the cell tagged `parameters`

        :param path: the notebook's file, relative to the app's folder.
        :param schedule: the due moments, as for `periodic_task`. None to run when submitted.
        :param code: whether the report shows the notebook's code.
        :param pdf: whether to make a PDF too, with the Chromium of the host.
        :param options: as for `task`. By default the task's name is the file's.

        Raises ValueError if there is no such file, or its name cannot name a task. A submit raises ValueError for an unknown
        parameter, or a value of another type than the default's, and RuntimeError if this host cannot run the task.
        """
        module = sys._getframe(1).f_globals["__name__"]
        root = _app_folder(module)
        file = (root / path).resolve()
        if not file.is_file():
            raise ValueError(f"There is no notebook {path} in {root}. Give its path from there.")
        name = str(options.get("name") or file.stem)
        if not name.isidentifier():
            raise ValueError(f"A task cannot be named {name!r}, after its notebook. Give name=, a Python name.")
        notebook = Notebook(name, file, root, code=code, pdf=pdf)

        def run(**parameters: Any) -> Report:
            return notebook.run(**parameters)

        run.__name__, run.__qualname__, run.__module__ = name, name, module
        run.__doc__ = f"Run {path} and return its report."
        options |= {"check_arguments": staticmethod(notebook.check), "keep_result": True, "makes_pdf": pdf}
        decorate = self.task(**options) if schedule is None else self.periodic_task(schedule, **options)
        return decorate(run)


def _app_folder(module: str) -> Path:
    """Return the folder that holds a module's top package. For a module in no package, return the working directory."""
    package, dot, _ = module.partition(".")
    file = getattr(sys.modules.get(package), "__file__", None)
    return Path(file).resolve().parent.parent if dot and file else Path.cwd()
