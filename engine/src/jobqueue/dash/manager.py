"""HueyManager: Dash's background callbacks as jobs of the queue.

Use it as `Dash(background_callback_manager=HueyManager(huey))`, with `@callback(..., background=True)` as Dash documents
it. Dash's cache key is the job's id here, so one read of that job answers all that Dash asks in a request. The renderer
gives up at the first request that fails. assets/reconnect.js, which comes with every page, repeats it.
"""

import hashlib
import hmac
import json
import logging
import pickle
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

import flask
from dash import Dash, Output, _callback_signing, hooks
from dash._callback import GLOBAL_CALLBACK_MAP
from dash._callback_context import context_value
from dash._get_app import get_app
from dash._no_update import NoUpdate
from dash.background_callback.managers import BaseBackgroundCallbackManager
from dash.exceptions import AppNotFoundError, PreventUpdate
from huey.api import TaskWrapper
from werkzeug.datastructures import ImmutableMultiDict

from jobqueue.dash import callback_updates, request_context
from jobqueue.dash.background import MODULE, Background, run, task_name
from jobqueue.dash.call_context import pack, unpack
from jobqueue.dash.callback_updates import CALL, KEPT, TOLD, CallbackSnapshot, Concealed
from jobqueue.dash.dash_setup import call_at_once, mend_polls, setting_up
from jobqueue.database.database import DatabaseUnavailable
from jobqueue.execution.current_job import current_job
from jobqueue.huey import DurableHuey
from jobqueue.jobs.job import Job, JobNotFound
from jobqueue.ledger.states import State

FOUND = "_callback"  # the address that returns how a callback was called
HANDLES = "Dash's handles"  # the purpose of the key that signs job ids for the browser
MAX_ARGUMENTS = 64_000_000  # bytes
UNSEEN = CallbackSnapshot(State.RUNNING)  # the database did not answer: the page asks again

logger = logging.getLogger("jobqueue.manager")

# By callback id. All managers of a queue share them, as a process may serve several apps.
_tasks: WeakKeyDictionary[DurableHuey, dict[str, TaskWrapper]] = WeakKeyDictionary()
_registering = threading.RLock()  # the first calls of a web process may come at the same moment


class HueyManager(BaseBackgroundCallbackManager):
    """A manager of background callbacks that runs them on a DurableHuey.

    :param cache_by: functions without arguments. If given, a result also answers later calls with the same callback,
        arguments and values of these functions.
    :param expire: seconds without such a call after which the result is no longer reused. By default it never expires.
    :param owner: returns the owner of the job, in the request that calls for it. By default CurrentJob.owner. For anybody
        else the job does not exist: their requests are answered with a 404, and its result is reused for its owner only.
    :param max_arguments: the most bytes of a call's Inputs and States. A call with more is refused with ArgumentsTooLarge.

    A job is named after its callback's outputs, not its function. An exception makes a failed job, PreventUpdate a
    successful one.
    """

    def __init__(
        self,
        huey: DurableHuey,
        cache_by: Any = None,
        expire: float | None = None,
        owner: Callable[[], str | None] = lambda: current_job().owner,
        max_arguments: int = MAX_ARGUMENTS,
    ) -> None:
        if not huey.results:
            raise ValueError("HueyManager needs the results of its jobs: make the DurableHuey without results=False.")
        self.handle = huey
        self.expire = expire
        self.max_arguments = max(max_arguments, huey.max_arguments)
        self._owner = owner
        self._apps: list[Dash] = []
        self._tasks = _tasks.setdefault(huey, {})
        super().__init__(cache_by)
        hooks.setup()(self._attend)
        huey.when_discovered(self.register_tasks)

    def _attend(self, app: Dash) -> None:
        """Set up an app. Dash calls this for each app that is made from now on."""
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
        """Register a task for each background callback that is defined by now.

        Raises ValueError for two callbacks with the same id.
        """
        with _registering:
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
                    task.unregister()  # redefined, as in a notebook
                self._tasks[callback_id] = self.handle.task(
                    name=task_name(callback_id), max_arguments=self.max_arguments
                )(self._job(background))

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
            request = request_context.decrypt(context.encrypted, self._secrets(request_context.PURPOSE))
            return run(self.handle, background, args, unpack(context.reveal(), args) | request)

        job.__module__ = MODULE
        job.background = background  # type: ignore[attr-defined]
        return job

    def _task_of(self, background: Background) -> TaskWrapper:
        with _registering:
            for _ in range(2):
                for task in self._tasks.values():
                    if task.func.background == background:
                        return task
                self.register_tasks()
        raise LookupError(f"{background.function!r} is no background callback of an app with this manager.")

    # --- Dash's interface of a manager ---

    def build_cache_key(self, fn: Any, args: Any, cache_args_to_ignore: Any, triggered: Any) -> str:
        """Return the id of the job that answers: a new one, or one that has answered the same call before."""
        if (token := _header(KEPT)) is not None:
            return self._kept(token).id
        job_id = self._new_id()
        if not self.cache_by:
            return job_id
        name = f"{fn.__module__}.{fn.__qualname__}"  # two functions may have the same source
        asked = super().build_cache_key(fn, args, cache_args_to_ignore, triggered)
        question = hashlib.sha256(f"{name} {asked} {self._owner()!r}".encode()).hexdigest()
        known = callback_updates.answered_by(self.handle.ledger, question, self.expire)
        if known is None:
            callback_updates.to_be_answered_by(self.handle.ledger, question, job_id)
        return known or job_id

    def call_job_fn(self, key: str, job_fn: Background, args: Any, context: Any) -> str:
        arguments, request = request_context.split(context)
        encrypted = request_context.encrypt(request, self._secrets(request_context.PURPOSE))
        large = (
            2 * len(pickle.dumps(args)) > self.handle.max_arguments
        )  # workers of the last version read no packed context
        concealed = Concealed(pack(arguments, args) if large else arguments, encrypted)
        task = self._task_of(job_fn).s(args, concealed)
        task.id, task.revoke_id, task.owner = key, f"r:{key}", self._owner()
        self.handle.enqueue(task)  # does nothing if a job with that id exists
        response = context_value.get({}).get("dash_response")
        if response is not None and getattr(job_fn.function, "found_after_reload", False):
            response.set_header(KEPT, _callback_signing.sign(self._secrets(KEPT)[0], "", key))
        return key

    def get_result(self, key: str, job: Any) -> Any:
        found = self._snapshot(key)
        return found.answer if found.answered else self.UNDEFINED

    def result_ready(self, key: str) -> bool:
        return self._snapshot(key).answered

    def job_running(self, job: Any) -> bool:
        """Return whether there is an answer, or one is still to come."""
        return self._snapshot(job).state not in (None, State.CANCELLED)

    def get_progress(self, key: str | None) -> list[Any] | None:
        """Return the progress, unless a part has no value yet. Dash would show `no_update` as that part's value."""
        progress = self._snapshot(key).progress
        return None if _is_partial(progress) else progress

    def get_updated_props(self, key: str | None) -> dict[str, Any]:
        """Return the new values of properties: those of the job, and over them those of an error handler in this request.

        Parts of a progress that has no value for the others yet are among them.
        """
        found = self._snapshot(key)
        context = context_value.get({})
        response = context.get("dash_response")
        if found.told and response is not None:
            response.set_header(TOLD, str(found.told))
        properties = {component: dict(values) for component, values in found.properties.items()}
        if _is_partial(found.progress):
            for output, part in zip(_progress_outputs(), found.progress or [], strict=False):
                if not NoUpdate.is_no_update(part):
                    properties.setdefault(output.component_id_str(), {})[output.component_property] = part
        for component, values in context.get("updated_props", {}).items():
            properties[component] = properties.get(component, {}) | values
        return properties

    def terminate_job(self, job: Any) -> None:
        """Cancel a job that has not ended. Dash calls this after each result, too."""
        if job is None:
            return
        found = self._snapshot(job)
        if found is UNSEEN:
            raise DatabaseUnavailable("The owner of the job to cancel cannot be read.")
        if not found.answered:
            self.handle.ledger.cancel(str(job), "Cancelled from its page.")

    def terminate_unhealthy_job(self, job: Any) -> bool:
        """Do nothing. The queue rescues lost jobs itself."""
        return False

    def get_or_create_signing_secret(self, generate: Callable[[], bytes]) -> bytes:
        """Return a secret derived from the queue's key, the same in every process."""
        return self._secrets(HANDLES)[0]

    def _secrets(self, purpose: str) -> list[bytes]:
        """Return the secrets for a purpose: of the signing key first, then of the keys before it."""
        return [hmac.digest(key.encode(), purpose.encode(), "sha256") for key in self.handle.signing_keys()]

    def _renew_handles(self) -> None:
        """Sign the handles of a page that was loaded under an earlier key with the current one, before Dash checks them."""
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
        """Return the job id for this call.

        It is derived from the call id that the page sent, so a repeated request gets the same job, and no other client
        can forge the id.
        """
        call = _header(CALL)
        if call is None:
            return str(uuid.uuid4())
        named = f"{flask.request.args.get('endId')} {call}"
        return str(uuid.UUID(bytes=hmac.digest(self._secrets(CALL)[0], named.encode(), "sha256")[:16]))

    # --- after a reload ---

    def _kept(self, token: str) -> Job:
        """Return the job of a token. Raises PreventUpdate if the page cannot have it any more."""
        ids = [_callback_signing.unsign(secret, "", token) for secret in self._secrets(KEPT)]
        try:
            job = self.handle.get_job(next(filter(None, ids), ""))
        except JobNotFound:
            raise PreventUpdate from None
        if job.state is State.CANCELLED or job.owner != self._owner():
            raise PreventUpdate
        return job

    def _how_it_was_called(self) -> Any:
        """Answer a reloaded page which property of which component called for the job. Answer 204 if the job is gone."""
        args, concealed = self._kept(flask.request.args.get("token", "")).args
        context = unpack(concealed.reveal(), args)
        if not context["triggered_inputs"]:
            return {}
        first = context["triggered_inputs"][0]
        component, _, name = first["prop_id"].rpartition(".")
        place = json.loads(component) if component.startswith("{") else component
        return {"id": place, "property": name, "value": first["value"]}

    def _snapshot(self, job_id: str | None) -> CallbackSnapshot:
        """Return the job's snapshot, read once in a request. Answer anybody but the owner with a 404."""
        if job_id is None:
            return CallbackSnapshot(None)
        seen: dict[str, CallbackSnapshot] = (
            flask.g.setdefault("callback_snapshots", {}) if flask.has_app_context() else {}
        )
        if job_id not in seen:
            told = _header(TOLD) or ""
            try:
                seen[job_id] = callback_updates.snapshot(
                    self.handle.ledger, str(job_id), int(told) if told.isdecimal() else 0
                )
            except DatabaseUnavailable as error:
                logger.warning("The job of a background callback, %s, cannot be read: %s", job_id, error)
                seen[job_id] = UNSEEN
        if seen[job_id] is not UNSEEN and seen[job_id].owner != self._owner():
            flask.abort(404)
        return seen[job_id]


def _is_partial(progress: list[Any] | None) -> bool:
    """Return whether a part of a progress has no value yet."""
    return any(map(NoUpdate.is_no_update, progress or []))


def _progress_outputs() -> list[Output]:
    """Return the outputs of the progress of the callback that the page polls."""
    asked = (flask.request.get_json(silent=True) or {}) if flask.has_request_context() else {}
    background = get_app().callback_map.get(asked.get("output"), {}).get("background") or {}
    return background.get("progress") or []


mend_polls(HueyManager)


def _header(name: str) -> str | None:
    return flask.request.headers.get(name) if flask.has_request_context() else None
