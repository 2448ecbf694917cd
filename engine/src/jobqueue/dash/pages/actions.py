"""The actions of the jobs page: retry and cancel selected jobs, and act on schedules and datasets."""

import time
from collections.abc import Callable
from typing import Any

from dash import ctx, no_update
from dash.exceptions import PreventUpdate

from jobqueue.dash.access import Access
from jobqueue.dash.formatting import plural
from jobqueue.dash.pages.text import said
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.jobs.job import JobNotFound
from jobqueue.schedules.timetable import ScheduleNotFound

AT_MOST = 200  # jobs in one action
ACTIONS = {"retry": ("Retry", "Queued again"), "cancel": ("Cancel", "Cancelled")}


class Actions:
    """The callbacks of the buttons, for one queue."""

    def __init__(self, access: Access) -> None:
        self.access = access

    def on_jobs(self, clicks: Any, meant: Any) -> tuple[Any, ...]:
        """Retry or cancel the selected jobs. Jobs that are gone, or in another state by now, are skipped."""
        if not clicks or not isinstance(meant, dict) or meant.get("act") not in ACTIONS:
            raise PreventUpdate
        ids = meant.get("ids")
        ids = list(dict.fromkeys(str(one) for one in ids))[:AT_MOST] if isinstance(ids, list) else []
        act: Callable[[str], bool] = getattr(self.access, meant["act"])
        done = 0
        try:
            for job_id in ids:
                try:
                    done += act(job_id)
                except JobNotFound:
                    pass
        except DatabaseUnavailable:
            words = f"Lost the connection to the database after {done} of {plural(len(ids), 'job')}."
            return said(words, "red"), False, no_update, time.time()
        words = f"{ACTIONS[meant['act']][1]}: {done} of {plural(len(ids), 'job')}."
        if done < len(ids):
            words += " The others have changed meanwhile."
        return said(words, "green" if done else "orange"), False, [], time.time()

    def on_schedule(self, _: Any) -> tuple[Any, Any]:
        """Pause, resume or run a schedule, or refresh a dataset."""
        pressed = ctx.triggered_id
        if not isinstance(pressed, dict) or not any(click["value"] for click in ctx.triggered):
            raise PreventUpdate  # a button was added to the page
        act, name = pressed.get("act"), str(pressed.get("name"))
        try:
            if act == "pause":
                words = "Paused." if self.access.pause(name) else "It was paused already."
            elif act == "resume":
                words = "Resumed from now on." if self.access.resume(name) else "It was not paused."
            elif act == "run":
                words = f"Queued as job {self.access.run(name)}."
            elif act == "refresh":
                words = f"Queued as job {self.access.refresh(name)}."
            else:
                raise PreventUpdate
        except ScheduleNotFound as error:
            return said(str(error), "orange"), time.time()
        except DatabaseUnavailable:
            return said("The database does not answer. Try again in a moment.", "red"), no_update
        return said(f"{name.rpartition('.')[2]}: {words}", "green"), time.time()
