"""Write the page of a promoted job: a field for each parameter, a button and a panel."""

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jobqueue.promote.notebook import Statement, parameters
from jobqueue.promote.refusal import Refused
from jobqueue.promote.writing import formatted

KEPT = 'persistence=True, persistence_type="memory"'  # a field keeps what the user typed when the page shows the job
DATE = re.compile(r"^(\w+\.)?date\b")


class Field(NamedTuple):
    """A parameter of the job as the page asks for it."""

    component: str
    part: str  # of the component: the one that holds what the user chose
    type: str  # of that part
    value: str  # the expression that turns it into the argument
    imports: tuple[str, ...] = ()
    must_be_filled: bool = False  # whether the user can leave it empty, and the task cannot


class Parameter(NamedTuple):
    """A parameter of the task, as the page has it."""

    name: str  # of the callback's argument
    id: str  # of its field
    kind: str  # the annotation's source
    default: str  # the default value's source, "" without one

    def component(self, made: str, **options: str) -> str:
        """Return the source of a component.

        :param options: the sources of its arguments. One that is empty is left out.
        """
        given = "".join(f", {name}={value}" for name, value in options.items() if value)
        return f'dmc.{made}(id="{self.id}", label="{_words(self.name)}"{given}, maw=300, {KEPT})'


def page_module(root: Path, module: str, task: ast.FunctionDef, kind: str, taken: Sequence[Statement]) -> str:
    """Return the source of a promoted job's page, without its mark. Raises Refused for a parameter that has no field.

    :param kind: of the task. A dataset takes no arguments: its page refreshes it.
    """
    star = task.args.vararg or task.args.kwarg
    if star is not None:
        raise Refused(
            f"--page makes a field for each parameter, and {task.name} takes any number (*{star.arg}). Leave --page out."
        )
    prefix, words = module.replace("_", "-"), _words(task.name)
    fields: list[tuple[Parameter, Field]] = []
    extra = set()
    for argument, default in parameters(task) if kind != "dataset" else []:
        type_ = _type(argument, default)
        source, names = _default(default, taken)
        variable = argument.arg + ("_" if argument.arg == task.name else "")  # the page calls the task by its name
        one = Parameter(variable, f"{prefix}-{argument.arg}", type_, source)
        field = _field(one, task.name, taken)
        if field.must_be_filled and isinstance(default, ast.Constant) and default.value is None:
            value = f'None if {one.name} in ("", None) else {field.value}'
            field = field._replace(value=value, must_be_filled=False)
        if argument not in task.args.posonlyargs:
            field = field._replace(value=f"{argument.arg}={field.value}")
        fields.append((one, field))
        names |= {type_} if _is_enum(type_, taken) else set()
        extra |= {*field.imports, *(f"from app.jobs.{module} import {name}" for name in names)}
    states = "".join(f', State("{one.id}", "{field.part}")' for one, field in fields)
    signature = "".join(f", {one.name}: {field.type}" for one, field in fields)
    passed = ", ".join(field.value for _, field in fields)
    button_id = f"{prefix}-start-button"  # no parameter's: those have no hyphens
    button = f'dmc.Button("Start", id="{button_id}", w="fit-content")'
    parts = [f'dmc.Title("{words}", order=2)', *(field.component for _, field in fields), button, "panel(job)"]
    needed = ", ".join(one.name for one, field in fields if field.must_be_filled)
    check = (
        f'    if {{{needed}}} & {{"", None}}:\n        raise SubmitRefused("Fill in every field.")\n' if needed else ""
    )
    return formatted(
        root,
        f'''"""Start {task.name} and watch it."""

{chr(10).join(sorted(extra))}
import dash
import dash_mantine_components as dmc
from dash import Input{", State" if fields else ""}
from jobqueue import JobHandle{", SubmitRefused" if needed else ""}

from app.access import jobs
from app.jobs.{module} import {task.name}

dash.register_page(__name__, path="/{prefix}", name="{words}", order=80)

panel = jobs.panel(__name__, task={task.name}{".task" if kind == "dataset" else ""})


def layout(job: str | None = None, **_: str) -> dmc.Stack:
    """Show the job that the address names, as in /{prefix}?job=<id>."""
    return dmc.Stack([{", ".join(parts)}])


@panel.start(Input("{button_id}", "n_clicks"){states})
def start(_: int{signature}) -> JobHandle:
    """Start a job. The panel shows it and puts its id into the address."""
{check}    return {task.name}{".refresh" if kind == "dataset" else ""}({passed})
''',
    )


def _type(argument: ast.arg, default: ast.expr | None) -> str:
    """Return a parameter's type as source: its annotation, else the type of its default value."""
    if argument.annotation is not None:
        return ast.unparse(argument.annotation).strip("'\"")
    if isinstance(default, ast.Constant) and isinstance(default.value, bool | int | float | str):
        return type(default.value).__name__
    return "str"


def _default(default: ast.expr | None, taken: Sequence[Statement]) -> tuple[str, set[str]]:
    """Return the source of a default value, and the names of the job's module that it needs.

    The source is "" if there is no default value, or if it needs what the notebook imports.
    """
    if default is None or (isinstance(default, ast.Constant) and default.value is None):
        return "", set()
    source = DATE.sub("datetime.date", ast.unparse(default))
    names = {one.id for one in ast.walk(ast.parse(source)) if isinstance(one, ast.Name)} - {"datetime"}
    defined = {name for one in taken if not isinstance(one.node, ast.Import | ast.ImportFrom) for name in one.binds}
    return (source, names) if names <= defined else ("", set())


def _field(one: Parameter, task: str, taken: Sequence[Statement]) -> Field:
    kind = one.kind
    if kind in ("int", "float"):
        whole = "False" if kind == "int" else ""
        component = one.component("NumberInput", value=one.default, allowDecimal=whole)
        return Field(component, "value", kind, f"{kind}({one.name})", must_be_filled=True)
    if kind == "bool":
        return Field(one.component("Switch", checked=one.default or "False"), "checked", "bool", one.name)
    if kind == "str":
        return Field(one.component("TextInput", value=one.default), "value", "str", one.name)
    if DATE.fullmatch(kind):
        component = one.component("DateInput", value=one.default, valueFormat='"YYYY-MM-DD"')
        value = f"datetime.date.fromisoformat({one.name})"
        return Field(component, "value", "str", value, ("import datetime",), must_be_filled=True)
    if _is_enum(kind, taken):
        names, first = f"[each.name for each in {kind}]", f"{one.default or f'next(iter({kind}))'}.name"
        component = one.component("Select", data=names, value=first, allowDeselect="False")
        return Field(component, "value", "str", f"{kind}[{one.name}]")
    options = _options(kind)
    if options and {type(option) for option in options} in ({str}, {int}):
        made = type(options[0]).__name__
        first, value = one.default or repr(options[0]), one.name
        if made == "int":
            first, value = f"str({first})", f"int({one.name})"
        component = one.component("Select", data=repr([*map(str, options)]), value=first, allowDeselect="False")
        return Field(component, "value", "str", value)
    raise Refused(
        f"--page makes fields for int, float, str, bool, date, Literal and Enum, and {task} has the parameter "
        f"{one.name}: {kind}. Leave --page out, and write the page."
    )


def _options(kind: str) -> list[object]:
    """Return the options of a Literal. Return nothing for another type."""
    node = ast.parse(kind, mode="eval").body
    if not isinstance(node, ast.Subscript) or ast.unparse(node.value).rpartition(".")[2] != "Literal":
        return []
    options = ast.literal_eval(node.slice)
    return list(options) if isinstance(options, tuple) else [options]


def _is_enum(kind: str, taken: Sequence[Statement]) -> bool:
    """Return whether a class of the notebook is an Enum."""
    classes = [one.node for one in taken if isinstance(one.node, ast.ClassDef) and one.node.name == kind]
    return any(ast.unparse(base).endswith("Enum") for one in classes for base in one.bases)


def _words(name: str) -> str:
    return name.replace("_", " ").strip().capitalize()
