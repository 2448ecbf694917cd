"""Find what a function needs: the helpers, constants and imports of its notebook, and no more.

A definition is taken only if the module that promote writes does the same with it as the notebook did. Anything else is refused:
a name that no cell defines, work that would run whenever the app starts, a value that a later cell changes.
"""

import ast
import builtins
import copy
import re
from collections.abc import Iterator

from jobqueue.promote.notebook import Function, Notebook, Statement, names_of, parameters
from jobqueue.promote.refusal import Refused

DECORATORS = ("task", "periodic_task", "dataset")  # of a queue
NOTEBOOK_ONLY = re.compile(r"(_|__|___|_i|_ii|_iii|_i?\d+|_oh|_ih|_dh|In|Out|display|get_ipython|exit|quit)$")
KNOWN = frozenset(dir(builtins)) | {"__name__"}  # names that every module has

# Calls that may stand at the top level of a module: they make small values, and read nothing.
PURE = frozenset(
    "abs bool bytes complex dict divmod enumerate float frozenset int len list map max min pow range reversed round set slice "
    "sorted str sum tuple type zip "
    "Counter Decimal Enum Fraction IntEnum MappingProxyType NamedTuple NewType OrderedDict Path PurePath StrEnum TypeVar "
    "TypedDict UUID ZoneInfo date datetime defaultdict deque field itemgetter attrgetter namedtuple partial time timedelta "
    "timezone compile dedent getLogger "
    "DateOffset Index Interval Period Timedelta Timestamp arange array eye full linspace ones zeros".split()
)
RANDOM = ("default_rng", "RandomState", "Random")  # generators of random numbers
CHANGING = frozenset(
    "add append appendleft clear difference_update discard extend extendleft fill insert intersection_update pop popitem "
    "popleft put remove resize reverse rotate setdefault sort symmetric_difference_update update".split()
)


def dependencies(notebook: Notebook, name: str) -> list[Statement]:
    """Return the statements that define a function and all that it needs, in the notebook's order.

    Raises Refused.
    """
    task = definition_of_task(notebook, name)
    taken: dict[Statement, None] = {}
    open_statements = [(task, name)]
    while open_statements:
        statement, bound = open_statements.pop()
        if statement in taken:
            continue
        _check(notebook, statement, bound, name)
        taken[statement] = None
        for needed in sorted(_needs(statement, bound)):
            found = _definition(notebook, needed, statement, name)
            if found is not None:
                open_statements.append((found, needed))
    _check_seeds(notebook, list(taken), name)
    return [statement for statement in notebook.statements if statement in taken]


def definition_of_task(notebook: Notebook, name: str) -> Statement:
    """Return the statement that defines the function to promote. Raises Refused."""
    found = notebook.binding(name)
    if not found:
        for cell in notebook.cells:
            if cell.magic and re.search(rf"^\s*(async\s+)?def {re.escape(name)}\(", cell.python, re.MULTILINE):
                raise Refused(f"{cell.label} {cell.magic} hides {name}. Remove the line.")
        known = ", ".join(notebook.functions()) or "none"
        raise Refused(f"{notebook.path.name} has no function {name}. It has: {known}.")
    statement = _only(found, name, name)
    node = statement.node
    if isinstance(node, ast.AsyncFunctionDef):
        raise Refused(
            f"{statement.label} {name} is async, and promote writes plain functions. Call asyncio.run inside it."
        )
    if isinstance(node, ast.ClassDef):
        raise Refused(f"{statement.label} {name} is a class, and a job is a function. Write a function that uses it.")
    if not isinstance(node, ast.FunctionDef):
        raise Refused(f"{statement.label} {statement.line} makes {name}. Write it as a function: def {name}(...).")
    for decorator in node.decorator_list:
        if decorator is not task_decorator(statement):
            raise Refused(
                f"{statement.label} @{ast.unparse(decorator)} is not a queue's decorator, so a job cannot keep it. Use it on a "
                f"helper that {name} calls."
            )
    if any(isinstance(one, ast.Yield | ast.YieldFrom) for one in own_nodes(node)):
        raise Refused(f"{name} returns a generator, which the queue cannot keep. Return a list.")
    return statement


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function's body that are not of a function inside it."""
    for child in ast.iter_child_nodes(function):
        yield child
        if not isinstance(child, Function | ast.Lambda | ast.ClassDef):
            yield from own_nodes(child)


def _needs(statement: Statement, bound: str) -> set[str]:
    """Return the names that a statement needs. Of an import that binds several names, each stands for itself."""
    if isinstance(statement.node, ast.Import | ast.ImportFrom):
        return set()
    decorator = task_decorator(statement)
    if decorator is None:
        return statement.uses - {bound}
    bare = copy.copy(statement.node)
    bare.decorator_list = []  # type: ignore[attr-defined]
    options = (
        [*decorator.args, *(keyword.value for keyword in decorator.keywords)] if isinstance(decorator, ast.Call) else []
    )
    named = {one.id for option in options for one in ast.walk(option) if isinstance(one, ast.Name)}
    return names_of(bare)[1] - {bound} | named


def task_decorator(statement: Statement) -> ast.expr | None:
    """Return a function's decorator of a queue, such as `queue.task(retries=2)`."""
    for decorator in getattr(statement.node, "decorator_list", []):
        function = decorator.func if isinstance(decorator, ast.Call) else decorator
        if isinstance(function, ast.Attribute) and function.attr in DECORATORS and isinstance(function.value, ast.Name):
            found: ast.expr = decorator
            return found
    return None


def kind_of(statement: Statement) -> str:
    """Return a function's kind of task: "task", "periodic_task" or "dataset". Return "" for a bare function."""
    decorator = task_decorator(statement)
    function = decorator.func if isinstance(decorator, ast.Call) else decorator
    return function.attr if isinstance(function, ast.Attribute) else ""


def _definition(notebook: Notebook, needed: str, user: Statement, task: str) -> Statement | None:
    """Return the statement that defines a name, or None for one of Python's own. Raises Refused."""
    found = notebook.binding(needed)
    if found:
        return _only(found, needed, task)
    if needed == "__file__":
        raise Refused(
            f"{user.label} {_line_with(user, needed)} uses __file__, which a notebook does not have. Pass the path."
        )
    if NOTEBOOK_ONLY.match(needed):
        raise _works_only_here(user, needed)
    if needed in KNOWN:
        return None
    for statement in notebook.statements:
        if isinstance(statement.node, ast.ImportFrom) and statement.node.names[0].name == "*":
            raise Refused(f"{statement.label} {statement.line} hides what {task} needs. Import {needed} by name.")
    raise Refused(f"{user.label} {task} uses {needed}, which no cell defines. Define it, or make it a parameter.")


def _only(found: list[Statement], name: str, task: str) -> Statement:
    """Return the one definition of a name. The same text in several cells counts once."""
    first, last = found[0], found[-1]
    definitions = [one for one in found if not _is_change(one)]
    kinds = {_meaning(one, name) for one in definitions}
    if len(kinds) > 1:
        other = next(one for one in definitions if _meaning(one, name) != _meaning(last, name))
        raise Refused(f"{other.label} and {last.label} define {name} differently. Keep one.")
    return definitions[-1] if definitions else first


def _meaning(statement: Statement, name: str) -> str:
    """Return a text that is equal for statements that define a name in the same way."""
    node = statement.node
    if isinstance(node, ast.Import | ast.ImportFrom):
        alias = next(one for one in node.names if name in (one.asname, one.name, one.name.partition(".")[0]))
        source = f"{'.' * node.level}{node.module}" if isinstance(node, ast.ImportFrom) else ""
        return f"import {source} {alias.name} {alias.asname}"
    return ast.unparse(node)


def _is_change(statement: Statement) -> bool:
    """Return whether a statement changes a value that it does not define."""
    return isinstance(statement.node, ast.AugAssign | ast.Delete)


def _check(notebook: Notebook, statement: Statement, bound: str, task: str) -> None:
    """Raise Refused if a statement would do something else in a module than in the notebook."""
    node = statement.node
    if statement.stores:
        stored = sorted(statement.stores)[0]
        raise Refused(
            f"{statement.label} {_line_with(statement, f'global {stored}')} changes a global, which each worker has for "
            f"itself. Return the value instead."
        )
    for one in ast.walk(node):
        if (
            isinstance(one, ast.Call)
            and isinstance(one.func, ast.Attribute)
            and _name(one.func.value) == "get_ipython()"
        ):
            raise _works_only_here(statement, statement.cell.quoted(one.lineno))
        if isinstance(one, ast.ImportFrom | ast.Import):
            modules = [one.module or ""] if isinstance(one, ast.ImportFrom) else [alias.name for alias in one.names]
            if any(_is_of_notebooks(module) for module in modules) and _uses_import(one, bound, node):
                raise _works_only_here(statement, statement.cell.quoted(one.lineno))
        if isinstance(one, ast.Name) and one.id == "__file__":
            _definition(notebook, "__file__", statement, task)
        if isinstance(one, ast.Await) and one in set(own_nodes(node)) and not isinstance(node, ast.AsyncFunctionDef):
            raise _works_only_here(statement, statement.cell.quoted(one.lineno))
    if isinstance(node, ast.If | ast.For | ast.While | ast.With | ast.Match):
        if isinstance(node, ast.If) and _name(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            return
        raise Refused(
            f"{statement.label} {statement.line} decides how {bound} is defined. Define it once, outside of the block."
        )
    if isinstance(node, ast.Try) and any(
        not isinstance(one, ast.Import | ast.ImportFrom | ast.Assign)
        for one in [*node.body, *node.orelse, *node.finalbody]
    ):
        raise Refused(f"{statement.label} {statement.line} does more than import. Put it into {task}.")
    if bound != task and task_decorator(statement) is not None:
        raise Refused(f"{statement.label} {bound} is a task itself. Promote it first, or remove its decorator.")
    if isinstance(node, Function):
        _check_defaults(statement, node)
    if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        _check_value(notebook, statement, node.value, bound, task)
    elif not isinstance(
        node, Function | ast.ClassDef | ast.Import | ast.ImportFrom | ast.Try | ast.Assign | ast.AnnAssign
    ):
        raise Refused(
            f"{statement.label} {statement.line} makes {bound} while it runs. Assign it in a statement of its own."
        )
    _check_changes(notebook, statement, bound)


def _is_of_notebooks(module: str) -> bool:
    return module.partition(".")[0] == "IPython" or module == "jobqueue.notebook"


def _uses_import(one: ast.Import | ast.ImportFrom, bound: str, node: ast.AST) -> bool:
    """Return whether an import inside a function, or one that gives this name, is meant."""
    return one is not node or any(bound in (alias.asname, alias.name.partition(".")[0]) for alias in one.names)


def _check_defaults(statement: Statement, function: Function) -> None:
    """Refuse a default value that the function changes: the next call would start with it."""
    for argument, default in parameters(function):
        mutable = isinstance(default, ast.List | ast.Dict | ast.Set) or (
            isinstance(default, ast.Call) and _name(default.func) in ("list", "dict", "set")
        )
        if mutable and any(_changed_name(one) == argument.arg for one in ast.walk(function)):
            raise Refused(
                f"{statement.label} {statement.line} changes the default value of {argument.arg}, so a call begins with what "
                f"an earlier one left. Use {argument.arg}=None."
            )


def _check_value(notebook: Notebook, statement: Statement, value: ast.expr, bound: str, task: str) -> None:
    for one in ast.walk(value):
        if isinstance(one, ast.Lambda):
            continue
        if isinstance(one, ast.Call) and _name(one.func).rpartition(".")[2] in RANDOM:
            raise Refused(
                f"{statement.label} {statement.line} makes random numbers that earlier jobs of a worker use up. Make it "
                f"inside {task}."
            )
        if isinstance(one, ast.Call) and not _is_pure(notebook, one):
            raise Refused(
                f"{statement.label} {statement.line} would run whenever the app starts. Read it inside {task} "
                f'(job.step("{bound}", ...)), or make it a parameter.'
            )


def _is_pure(notebook: Notebook, call: ast.Call) -> bool:
    """Return whether a call may stand at the top level of a module: it makes a small value, and reads nothing."""
    name = _name(call.func)
    short = name.rpartition(".")[2]
    if not name.isidentifier() and not all(part.isidentifier() for part in name.split(".")):
        return isinstance(call.func, ast.Attribute) and isinstance(call.func.value, ast.Constant)  # "a b".split()
    for statement in notebook.binding(name):
        if isinstance(statement.node, ast.FunctionDef):  # a factory only makes a function
            body = [one for one in own_nodes(statement.node) if isinstance(one, ast.Call)]
            return not body
        if isinstance(statement.node, ast.ClassDef):
            return True
    return short in PURE


def _check_changes(notebook: Notebook, definition: Statement, name: str) -> None:
    """Refuse a value that another cell changes after its definition."""
    for statement in notebook.statements:
        if statement is definition or isinstance(statement.node, Function | ast.ClassDef):
            continue
        for one in ast.walk(statement.node):
            if _changed_name(one) == name:
                raise Refused(
                    f"{statement.label} changes {name} after its definition in {definition.label}. {_advice(one)}"
                )


def _advice(change: ast.AST) -> str:
    """Return what to do about a change of a value: name the key that a statement adds."""
    if isinstance(change, ast.Assign):
        for one in ast.walk(change.targets[0]):
            if isinstance(one, ast.Constant) and isinstance(one.value, str):
                return f'Put "{one.value}" into the definition.'
    return "Put the change into the definition."


def _changed_name(node: ast.AST) -> str | None:
    """Return the name of the value that a node changes, if it changes one."""
    if isinstance(node, ast.AugAssign):
        return _root(node.target)
    if isinstance(node, ast.Assign | ast.Delete):
        for target in node.targets:
            if isinstance(target, ast.Subscript | ast.Attribute) or isinstance(node, ast.Delete):
                return _root(target)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CHANGING:
        return _root(node.func.value)
    return None


def _root(node: ast.AST) -> str | None:
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _check_seeds(notebook: Notebook, taken: list[Statement], task: str) -> None:
    """Refuse a seed that a cell sets: a worker would not set it."""
    used = {name for statement in taken for name in statement.uses}
    for statement in notebook.statements:
        node = statement.node
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            name = _name(node.value.func)
            if name.rpartition(".")[2] in ("seed", "manual_seed", "set_seed") and _root(node.value.func) in used:
                raise Refused(f"{statement.label} {statement.line} sets what {task} draws. Set it inside {task}.")


def _works_only_here(statement: Statement, line: str) -> Refused:
    return Refused(f"{statement.label} {line} works only in a notebook. {_instead(line)}")


def _instead(line: str) -> str:
    if line.lstrip().startswith("!"):
        return "Use subprocess or pathlib."
    if "display" in line:
        return "Return the value instead."
    return "Use plain Python instead."


def _line_with(statement: Statement, text: str) -> str:
    """Return the first line of a statement that contains a text."""
    for number in range(statement.node.lineno, statement.last + 1):
        if text in statement.cell.quoted(number):
            return statement.cell.quoted(number)
    return statement.line


def _name(node: ast.AST) -> str:
    return ast.unparse(node)
