"""Write the page of a promoted job: a field for each parameter, a button and a panel."""

import ast
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jobqueue.promote.notebook import Statement
from jobqueue.promote.refusal import Refused
from jobqueue.promote.writing import formatted


class Field(NamedTuple):
    """A parameter of the job as the page asks for it. `value`: the expression that the callback passes."""

    name: str
    component: str
    part: str
    type: str
    value: str
    imports: tuple[str, ...] = ()


def page_module(root: Path, module: str, task: ast.FunctionDef, taken: Sequence[Statement]) -> str:
    """Return the source of a promoted job's page, without its mark. Raises Refused for a parameter that has no field."""
    fields = [_field(module, task.name, argument, default, taken) for argument, default in _parameters(task)]
    words = _words(task.name)
    prefix = module.replace("_", "-")
    extra = sorted({line for field in fields for line in field.imports})
    ids = [f"{prefix}-{field.name.replace('_', '-')}" for field in fields]
    made = "\n".join(
        f"    {field.name} = {field.component.format(id=name)}" for field, name in zip(fields, ids, strict=True)
    )
    states = "".join(f', State("{name}", "{field.part}")' for field, name in zip(fields, ids, strict=True))
    signature = "".join(f", {field.name}: {field.type}" for field in fields)
    passed = ", ".join(f"{field.name}={field.value}" for field in fields)
    shown = ", ".join(["title", *(field.name for field in fields), "button", "panel(job)"])
    path = f"/{prefix}"
    return formatted(
        root,
        f'''"""Start {task.name} and watch it."""

import dash
import dash_mantine_components as dmc
from dash import Input{", State" if fields else ""}
from jobqueue import JobHandle
{chr(10).join(extra)}

from app.access import jobs
from app.jobs.{module} import {task.name}

dash.register_page(__name__, path="{path}", name="{words}", order=80)

panel = jobs.panel(__name__, task={task.name})


def layout(job: str | None = None, **_: str) -> dmc.Stack:
    """Show the job that the address names, as in {path}?job=<id>."""
    title = dmc.Title("{words}", order=2)
{made}
    button = dmc.Button("Start", id="{prefix}-start", w="fit-content")
    return dmc.Stack([{shown}])


@panel.start(Input("{prefix}-start", "n_clicks"){states})
def start(_: int{signature}) -> JobHandle:
    """Start a job. The panel shows it and puts its id into the address."""
    return {task.name}({passed})
''',
    )


def _parameters(task: ast.FunctionDef) -> list[tuple[ast.arg, ast.expr | None]]:
    arguments = task.args
    if arguments.vararg or arguments.kwarg:
        star = arguments.vararg or arguments.kwarg
        assert star is not None
        raise Refused(
            f"--page makes a field for each parameter, and {task.name} takes any number (*{star.arg}). Leave --page out."
        )
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    defaults += arguments.defaults
    pairs = list(zip(positional, defaults, strict=True))
    return pairs + list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))


def _field(module: str, task: str, argument: ast.arg, default: ast.expr | None, taken: Sequence[Statement]) -> Field:
    name, label = argument.arg, _words(argument.arg)
    kind = "" if argument.annotation is None else ast.unparse(argument.annotation).strip("'\"")
    literal = _literal(default)
    if not kind:
        kind = type(literal).__name__ if isinstance(literal, bool | int | float | str) else "str"
    shown = "" if literal is None else f", value={literal!r}"
    if kind in ("int", "float"):
        decimals = ", allowDecimal=False" if kind == "int" else ""
        return Field(
            name,
            f'dmc.NumberInput(id="{{id}}", label="{label}"{shown}{decimals}, maw=300)',
            "value",
            kind,
            f"{kind}({name})",
        )
    if kind == "bool":
        return Field(
            name, f'dmc.Switch(id="{{id}}", label="{label}", checked={bool(literal)})', "checked", "bool", name
        )
    if kind == "str":
        return Field(name, f'dmc.TextInput(id="{{id}}", label="{label}"{shown}, maw=300)', "value", "str", name)
    if kind.rpartition(".")[2] == "date":
        field = f'dmc.DateInput(id="{{id}}", label="{label}", valueFormat="YYYY-MM-DD", maw=300)'
        return Field(name, field, "value", "str", f"date.fromisoformat({name})", ("from datetime import date",))
    if kind.rpartition("[")[0].rpartition(".")[2] == "Literal":
        assert isinstance(argument.annotation, ast.Subscript)
        choices = argument.annotation.slice
        options = [ast.literal_eval(one) for one in (choices.elts if isinstance(choices, ast.Tuple) else [choices])]
        if all(isinstance(option, str) for option in options):
            field = (
                f'dmc.Select(id="{{id}}", label="{label}", data={options!r}, value={literal or options[0]!r}, maw=300)'
            )
            return Field(name, field, "value", "str", name)
    if any(isinstance(one.node, ast.ClassDef) and one.node.name == kind and _is_enum(one.node) for one in taken):
        first = f"next(iter({kind})).name" if default is None else f"{ast.unparse(default)}.name"
        field = f'dmc.Select(id="{{id}}", label="{label}", data=[one.name for one in {kind}], value={first}, maw=300)'
        return Field(name, field, "value", "str", f"{kind}[{name}]", (f"from app.jobs.{module} import {kind}",))
    raise Refused(
        f"--page makes fields for int, float, str, bool, date, Literal and Enum, and {task} has the parameter "
        f"{name}: {kind}. Leave --page out, and write the page."
    )


def _is_enum(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).endswith("Enum") for base in node.bases)


def _literal(default: ast.expr | None) -> object:
    if default is None:
        return None
    try:
        value: object = ast.literal_eval(default)
    except ValueError:
        return None
    return value


def _words(name: str) -> str:
    return name.replace("_", " ").strip().capitalize()
