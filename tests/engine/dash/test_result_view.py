"""A result is shown by its type: a frame as a table, a figure as a chart, anything else as text."""

from typing import Any

import pandas as pd
import plotly.graph_objects as go

from jobqueue import File
from jobqueue.dash.result_view import COLUMNS, ROWS, by_type


def cells(component: Any) -> list[list[str]]:
    """Return the texts of a table, row by row."""
    table = component.children[0].children
    [head, body] = table.children
    return [[cell.children for cell in row.children] for row in [*([head.children]), *body.children]]


def test_a_frame_is_a_table_without_an_index_that_only_counts() -> None:
    frame = pd.DataFrame({"day": pd.to_datetime(["2024-01-01", None]), "sales": [1234.5, None], "n": [1, 2]})
    assert cells(by_type(frame)) == [["day", "sales", "n"], ["2024-01-01", "1,234.5", "1"], ["–", "–", "2"]]


def test_an_index_with_labels_is_shown() -> None:
    frame = pd.DataFrame({("sales", "net"): [0.1 + 0.2]}, index=pd.Index(["north"], name="region"))
    assert cells(by_type(frame)) == [["region", "sales · net"], ["north", "0.3"]]
    assert cells(by_type(frame.iloc[:, 0])) == [["region", "sales · net"], ["north", "0.3"]]
    levels = frame.set_axis(pd.MultiIndex.from_tuples([("north", 1)]))
    assert cells(by_type(levels))[1] == ["north", "1", "0.3"]
    months = frame.set_axis(pd.PeriodIndex(["2024-01"], freq="M"))
    assert cells(by_type(months))[1] == ["2024-01", "0.3"]


def test_of_a_large_frame_the_first_rows_and_columns_are_shown() -> None:
    shown = by_type(pd.DataFrame({number: range(1000) for number in range(60)}))
    assert len(cells(shown)) == ROWS + 1 and len(cells(shown)[0]) == COLUMNS
    assert shown.children[1].children == "These are the first 200 of 1,000 rows and the first 50 of 60 columns."


def test_a_stored_file_is_shown_by_name_and_size() -> None:
    assert by_type(File("id", "sales.csv", 1500, "text/csv", "")).children == "sales.csv (1.5 kB)"


def test_an_empty_frame_says_so() -> None:
    assert by_type(pd.DataFrame({"n": []})).children[1].children == "The result has no rows."


def test_a_figure_is_a_chart_and_anything_else_is_text() -> None:
    figure = go.Figure(go.Bar(y=[1]))
    shown: Any = by_type(figure)
    assert shown.to_plotly_json()["type"] == "Graph" and shown.figure is figure
    assert figure.layout.paper_bgcolor == "rgba(0,0,0,0)"
    assert by_type({"sum": 3}).children == "{'sum': 3}"
