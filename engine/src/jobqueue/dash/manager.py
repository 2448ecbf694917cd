"""HueyManager: Dash's background callbacks as jobs of the queue.

`Dash(background_callback_manager=HueyManager(huey))`, and `@callback(..., background=True)` as Dash documents it. What Dash
calls a cache key is the job's id here, so that all it asks in one request is answered from one look at that job. The
renderer gives up at the first request that fails; assets/callbacks.js, which comes with every page, does not.
"""

import hashlib
import hmac
import json
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import flask
from dash import Dash, _callback_signing, hooks
from dash._callback import GLOBAL_CALLBACK_MAP
from dash._callback_context import context_value
from dash._get_app import get_app
from dash.background_callback.managers import BaseBackgroundCallbackManager
from dash.exceptions import AppNotFoundError, PreventUpdate
from huey.api import TaskWrapper
from werkzeug.datastructures import ImmutableMultiDict

from jobqueue.dash import callback_updates
from jobqueue.dash.background import Background, run, task_name
from jobqueue.dash.callback_updates import CALL, KEPT, TOLD, CallbackSnapshot, Concealed
from jobqueue.dash.dash_setup import call_at_once, setting_up
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.execution.current_job import current_job
from jobqueue.huey import DurableHuey
from jobqueue.jobs.job import Job, JobNotFound
from jobqueue.ledger.states import State

FOUND = "_callback"  # the address that says how a job was called for
HANDLES = "Dash's handles"  # what the secret is for
UNSEEN = CallbackSnapshot(State.RUNNING)  # the database did not answer: a page asks again

logger = logging.getLogger("jobqueue.manager")

# By the ids of their callbacks: the same for all managers of a queue, as a process may serve several apps.
_tasks: WeakKeyDictionary[DurableHuey, dict[str, TaskWrapper]] = WeakKeyDictionary()


class HueyManager(BaseBackgroundCallbackManager):
    """Runs background callbacks on a DurableHuey.

    :param cache_by: functions without arguments. Where there are any, a result also answers whoever asks the same (the
        callback, its arguments, and what these functions return) later on.
    :param expire: seconds for which such a result is kept for others when nobody asks for it; by default for ever.
    :param owner: says, in the request, whose job it is to be; by default whoever the app works for (CurrentJob.owner). To
        others it is not there: what they ask of it is a 404, and what it answered answers its owner alone.

    A job is named after its callback's outputs, not its function. An exception is a failed job, PreventUpdate a success.
    """

    def __init__(
        self,
        huey: DurableHuey,
        cache_by: Any = None,
        expire: float | None = None,
        owner: Callable[[], str | None] = lambda: current_job().owner,
    ) -> None:
        if not huey.results:
            raise ValueError("HueyManager needs the results of its jobs: make the DurableHuey without results=False.")
        self.handle = huey
        self.expire = expire
        self._owner = owner
        self._apps: list[Dash] = []
        self._tasks = _tasks.setdefault(huey, {})
        super().__init__(cache_by)
        hooks.setup()(self._attend)
        huey.when_discovered(self.register_tasks)

    def _attend(self, app: Dash) -> None:
        """What Dash tells of each app that is made from now on."""
        self._apps.append(app)
        if app._background_manager in (self, None) and not any(route.endswith(f"/{FOUND}") for route in app.routes):
            app._add_url(FOUND, self._how_it_was_called)
            app.backend.before_request(setting_up(app))
            app.backend.before_request(self._renew_handles)
            if not app._use_async:
                app.backend.before_request(lambda: call_at_once(app))

    # --- the jobs ---

    def make_job_fn(self, fn: Callable[..., Any], progress: bool, key: str | None = None) -> Background:
        return Background(fn, progress)

    def register_tasks(self) -> None:
        """Make a task of each background callback that is known by now.

        Raises ValueError for two callbacks of one id.
        """
        for callback_id, background in self._known_callbacks():
            task = self._tasks.get(callback_id)
            if task is not None:
                earlier = task.func.background
                if earlier == background:
                    continue
                if earlier.name != background.name:
                    raise ValueError(
                        f"{earlier.name} and {background.name} are both the callback {callback_id!r} of this queue. Give "
                        "two apps a DurableHuey each, or their components other ids."
                    )
                task.unregister()  # defined again, as in a notebook
            self._tasks[callback_id] = self.handle.task(name=task_name(callback_id))(self._job(background))

    def _known_callbacks(self) -> Iterator[tuple[str, Background]]:
        apps = list(self._apps)
        try:
            apps.append(get_app())
        except AppNotFoundError:
            pass
        own = [app for app in apps if app._background_manager is self]
        for callbacks_of, default in (
            (GLOBAL_CALLBACK_MAP, bool(own)),
            *((app.callback_map, app in own) for app in apps),
        ):
            for callback_id, spec in callbacks_of.items():
                uses = spec.get("manager") is self or (spec.get("manager") is None and default)
                if uses and spec.get("background") and "callback" in spec:
                    progress = spec["background"].get("progress") is not None
                    yield callback_id, Background(spec["callback"].__wrapped__, progress)

    def _job(self, background: Background) -> Callable[[Any, Concealed], str]:
        def job(args: Any, context: Concealed) -> str:
            return run(self.handle, background, args, context.reveal())

        job.__module__ = "callback"
        job.background = background  # type: ignore[attr-defined]
        return job

    def _task_of(self, background: Background) -> TaskWrapper:
        for _ in range(2):
            for task in self._tasks.values():
                if task.func.background == background:
                    return task
            self.register_tasks()
        raise LookupError(f"{background.function!r} is no background callback of an app with this manager.")

    # --- what Dash asks ---

    def build_cache_key(self, fn: Any, args: Any, cache_args_to_ignore: Any, triggered: Any) -> str:
        """The id of the job that answers: a new one's, or that of one which has answered the same before."""
        if (token := _header(KEPT)) is not None:
            return self._kept(token).id
        job_id = self._new_id()
        if not self.cache_by:
            return job_id
        name = f"{fn.__module__}.{fn.__qualname__}"  # the source alone may be that of two
        asked = super().build_cache_key(fn, args, cache_args_to_ignore, triggered)
        question = hashlib.sha256(f"{name} {asked} {self._owner()!r}".encode()).hexdigest()
        known = callback_updates.answered_by(self.handle.ledger, question, self.expire)
        if known is None:
            callback_updates.to_be_answered_by(self.handle.ledger, question, job_id)
        return known or job_id

    def call_job_fn(self, key: str, job_fn: Background, args: Any, context: Any) -> str:
        task = self._task_of(job_fn).s(args, Concealed(dict(context)))
        task.id, task.revoke_id, task.owner = key, f"r:{key}", self._owner()
        self.handle.enqueue(task)  # a job of that id that is there already is left alone
        response = context_value.get({}).get("dash_response")
        if response is not None and getattr(job_fn.function, "found_after_reload", False):
            response.set_header(KEPT, _callback_signing.sign(self._secrets(KEPT)[0], "", key))
        return key

    def get_result(self, key: str, job: Any) -> Any:
        found = self._look(key)
        return found.answer if found.answered else self.UNDEFINED

    def result_ready(self, key: str) -> bool:
        return self._look(key).answered

    def job_running(self, job: Any) -> bool:
        """Whether an answer is there or still to come."""
        return self._look(job).state not in (None, State.CANCELLED)

    def get_progress(self, key: str) -> list[Any] | None:
        return self._look(key).progress

    def get_updated_props(self, key: str | None) -> dict[str, Any]:
        found = self._look(key)
        response = context_value.get({}).get("dash_response")
        if found.told and response is not None:
            response.set_header(TOLD, str(found.told))
        return found.properties

    def terminate_job(self, job: Any) -> None:
        """End a job that has not ended. Dash does so after each result, too."""
        if job is None:
            return
        found = self._look(job)
        if found is UNSEEN:
            raise DatabaseUnavailable("It does not say whose the job is that is to be cancelled.")
        if not found.answered:
            self.handle.ledger.cancel(str(job), "Cancelled from its page.")

    def terminate_unhealthy_job(self, job: Any) -> bool:
        """The queue sees to that itself."""
        return False

    def get_or_create_signing_secret(self, generate: Callable[[], bytes]) -> bytes:
        """The same in every process that has the queue's key: nothing is asked of the database."""
        return self._secrets(HANDLES)[0]

    def _secrets(self, purpose: str) -> list[bytes]:
        """That of the key which signs, and those of the keys before it."""
        return [hmac.digest(key.encode(), purpose.encode(), "sha256") for key in self.handle.signing_keys()]

    def _renew_handles(self) -> None:
        """A page that was loaded under an earlier key goes on: what it sends is signed anew, before Dash looks at it."""
        new, *old = self._secrets(HANDLES)
        sent = flask.request.args
        for secret in old if "endId" in sent else ():
            end_id = _callback_signing.unsign(secret, _callback_signing.END_SCOPE, sent["endId"])
            if end_id is None:
                continue
            job, cache_key = _callback_signing.job_scope(end_id), _callback_signing.cache_scope(end_id)
            scopes = {"endId": _callback_signing.END_SCOPE, "cacheKey": cache_key}
            scopes |= dict.fromkeys(("job", "oldJob", "cancelJob"), job)
            values = [
                (name, _callback_signing.unsign(secret, scopes[name], value), value)
                for name, value in sent.items(multi=True)
                if name in scopes
            ]
            flask.request.args = ImmutableMultiDict(
                (name, value if plain is None else _callback_signing.sign(new, scopes[name], plain))
                for name, plain, value in values
            )
            return

    def _new_id(self) -> str:
        """That of the job of this call, if the page has named it: nobody else can make another's."""
        call = _header(CALL)
        if call is None:
            return str(uuid.uuid4())
        named = f"{flask.request.args.get('endId')} {call}"
        return str(uuid.UUID(bytes=hmac.digest(self._secrets(CALL)[0], named.encode(), "sha256")[:16]))

    # --- after a reload ---

    def _kept(self, token: str) -> Job:
        """The job of a token. Raises PreventUpdate where its page is to do without."""
        ids = [_callback_signing.unsign(secret, "", token) for secret in self._secrets(KEPT)]
        try:
            job = self.handle.get_job(next(filter(None, ids), ""))
        except JobNotFound:
            raise PreventUpdate from None
        if job.state is State.CANCELLED or job.owner != self._owner():
            raise PreventUpdate
        return job

    def _how_it_was_called(self) -> Any:
        """For a page that was reloaded: which property of which component called for the job. 204 where that is over."""
        context: dict[str, Any] = self._kept(flask.request.args.get("token", "")).args[1].reveal()
        if not context["triggered_inputs"]:
            return {}
        first = context["triggered_inputs"][0]
        component, _, name = first["prop_id"].rpartition(".")
        place = json.loads(component) if component.startswith("{") else component
        return {"id": place, "property": name, "value": first["value"]}

    def _look(self, job_id: str | None) -> CallbackSnapshot:
        """The request's one look at a job. To another than its owner this is a 404, as for a job that is not there."""
        if job_id is None:
            return CallbackSnapshot(None)
        seen: dict[str, CallbackSnapshot] = flask.g.setdefault("callback_looks", {}) if flask.has_app_context() else {}
        if job_id not in seen:
            told = _header(TOLD) or ""
            try:
                seen[job_id] = callback_updates.snapshot(
                    self.handle.ledger, str(job_id), int(told) if told.isdecimal() else 0
                )
            except DatabaseUnavailable as error:
                logger.warning("How callback %s is doing cannot be seen: %s", job_id, error)
                seen[job_id] = UNSEEN
        if seen[job_id] is not UNSEEN and seen[job_id].owner != self._owner():
            flask.abort(404)
        return seen[job_id]


def _header(name: str) -> str | None:
    return flask.request.headers.get(name) if flask.has_request_context() else None
