"""One HTML file of an executed notebook, which asks nothing of any host."""

import copy
import html
from pathlib import Path
from typing import Any

from nbconvert import HTMLExporter

from jobqueue.reports.report import PLOTLY_HERE, POLICY

FIGURE = "application/vnd.plotly.v1+json"
# Addresses from which the HTML of nbconvert loads scripts.
HOSTS = (
    "mathjax",
    "require_js",
    "jquery",
    "mermaid_js",
    "mermaid_layout_elk_js",
    "widget_renderer",
    "jupyter_widgets_base",
)


def html_of(node: Any, title: str, folder: Path, *, code: bool) -> str:
    """Return a notebook as one HTML file, with PLOTLY_HERE in place of plotly.js if it has charts.

    :param node: the executed notebook, as nbformat reads it.
    :param folder: the notebook's folder, for images beside it.
    :param code: whether to show the code.
    """
    node = copy.deepcopy(node)
    charts = [_draw(output.data) for cell in node.cells for output in cell.get("outputs", []) if "data" in output]
    exporter = HTMLExporter(
        exclude_input=not code,
        exclude_input_prompt=not code,
        exclude_output_prompt=not code,
        embed_images=True,
        **{f"{host}_url": "" for host in HOSTS},
    )
    body, _ = exporter.from_notebook_node(node, {"metadata": {"name": title, "path": str(folder)}})
    policy = f'<meta http-equiv="Content-Security-Policy" content="{html.escape(POLICY)}">'
    return body.replace("<head>", f"<head>\n{policy}\n{PLOTLY_HERE if any(charts) else ''}", 1)


def _draw(data: Any) -> bool:
    """Turn a plotly figure among an output's data into HTML, which nbconvert cannot. Return whether there was one."""
    if FIGURE not in data:
        return False
    import plotly.io

    figure = data.pop(FIGURE)
    parts = {key: figure[key] for key in ("data", "layout", "frames") if key in figure}
    data["text/html"] = plotly.io.to_html(
        parts, config=figure.get("config"), full_html=False, include_plotlyjs=False, validate=False
    )
    return True
