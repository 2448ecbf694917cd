"""The component of a job's result, chosen by its type: a table, a chart or text."""

from typing import Any

import dash_mantine_components as dmc
from dash import dcc
from dash.development.base_component import Component

from jobqueue.dash.downloads.tables import head, only_counts
from jobqueue.dash.panel_view import as_text
from jobqueue.text import size

ROWS, COLUMNS = 200, 50  # of a frame that are shown
COLUMN_WIDTH = 110  # pixels; a narrower screen scrolls sideways
TRANSPARENT = "rgba(0,0,0,0)"  # of charts: their texts have the page's colour, light or dark
MISSING = ("nan", "NaT", "<NA>", "None")


def by_type(value: Any) -> Component:
    """Return a DataFrame or Series as a table, a Plotly figure as a chart, a File as its name, and anything else as text.

    Neither pandas nor Plotly is imported here: a result of their types has been decoded with them.
    """
    kind = type(value)
    match (kind.__module__.partition(".")[0], kind.__name__):
        case "pandas", "DataFrame":
            return frame_table(value)
        case "pandas", "Series":
            return frame_table(value.to_frame(value.name if value.name is not None else "Value"))
        case "plotly", "Figure":
            return dcc.Graph(figure=value.update_layout(paper_bgcolor=TRANSPARENT))
        case "jobqueue", "File":
            return as_text(f"{value.name} ({size(value.size)})")
    return as_text(value)


def frame_table(frame: Any) -> Component:
    """Return a table of a frame's first rows and columns. An index that only counts the rows is left out."""
    shown = frame.iloc[:ROWS, :COLUMNS]
    levels = shown.index.nlevels
    counts = only_counts(shown.index)
    numbers = [kind.kind in "iufc" for kind in shown.dtypes]
    heads = [
        dmc.TableTh(head(name), ta="right" if right else "left") for name, right in zip(shown, numbers, strict=True)
    ]
    rows = [
        [dmc.TableTd(_cell(cell), ta="right" if right else "left") for cell, right in zip(row, numbers, strict=True)]
        for row in shown.itertuples(index=False, name=None)
    ]
    if not counts:
        names = shown.index.names
        heads = [*(dmc.TableTd() if name is None else dmc.TableTh(head(name)) for name in names), *heads]
        labels = shown.index if levels > 1 else ((label,) for label in shown.index)
        rows = [
            [*(dmc.TableTd(_cell(part), fw=500) for part in label), *row]
            for label, row in zip(labels, rows, strict=True)
        ]
    table = dmc.Table(
        [dmc.TableThead(dmc.TableTr(heads)), dmc.TableTbody([dmc.TableTr(row) for row in rows])],
        striped=True,
        **{"aria-label": "Result"},
    )
    focus = {"viewportProps": {"tabIndex": 0}}  # the keyboard scrolls what has the focus
    width = COLUMN_WIDTH * len(heads)
    parts = [dmc.TableScrollContainer(table, minWidth=width, maxHeight=500, scrollAreaProps=focus)]
    if said := _left_out(*frame.shape):
        parts.append(dmc.Text(said, size="sm", c="dimmed"))
    return dmc.Stack(parts, gap="xs", mt="md")


def _left_out(rows: int, columns: int) -> str:
    """Return a sentence about the part of a frame that is shown. Return "" if it is shown whole."""
    if not rows:
        return "The result has no rows."
    parts = [
        f"the first {most:,} of {count:,} {name}"
        for count, most, name in ((rows, ROWS, "rows"), (columns, COLUMNS, "columns"))
        if count > most
    ]
    return f"These are {' and '.join(parts)}." if parts else ""


def _cell(value: Any) -> str:
    if isinstance(value, float):
        text = f"{value:,.8g}"
    else:
        text = str(value).removesuffix(" 00:00:00")  # a day
    return "–" if text in MISSING else text
