"""Find the modules that define tasks, so that a worker knows every task of the app."""

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path

BACKGROUND = re.compile(r"\bbackground\s*=(?!=)")  # an argument of a callback


class Discovery:
    """Imports the modules that define an app's tasks.

    :param tasks_in: the package whose modules define tasks. None for no package.
    :param dash_app: the module that makes the Dash app. It is imported only if it has background callbacks, which are tasks
        too. Otherwise workers need neither the memory of its pages nor pages without errors.
    """

    def __init__(self, tasks_in: str | None, dash_app: str | None) -> None:
        self.tasks_in = tasks_in
        self.dash_app = dash_app
        self._hooks: list[Callable[[], None]] = []

    def modules(self) -> list[str]:
        """Return the names of all modules of the app that a web process or a worker may import."""
        names = []
        if self.tasks_in is not None:
            package = importlib.import_module(self.tasks_in)
            names = [
                self.tasks_in,
                *(f"{self.tasks_in}.{module.name}" for module in pkgutil.iter_modules(package.__path__)),
            ]
        return names if self.dash_app is None else [*names, self.dash_app]

    def discover(self) -> None:
        """Import the modules, then call the hooks."""
        for module in self.modules():
            if module != self.dash_app:
                importlib.import_module(module)
        if self.dash_app is not None and _has_background_callbacks(self.dash_app):
            importlib.import_module(self.dash_app)
        for hook in self._hooks:
            hook()

    def when_discovered(self, hook: Callable[[], None]) -> None:
        """Call the hook whenever a consumer has imported all modules."""
        self._hooks.append(hook)


def _has_background_callbacks(module: str) -> bool:
    """Return whether a Dash app makes a HueyManager and has background callbacks. Read its source without running it.

    The callbacks of a module outside any package may be anywhere, so for such a module the manager alone decides.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return False
    path = Path(spec.origin)
    if "HueyManager" not in _source(path) or "." not in module:
        return "HueyManager" in _source(path)
    return any(BACKGROUND.search(_source(other)) for other in path.parent.rglob("*.py"))


def _source(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")
