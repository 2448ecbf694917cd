"""An app below a cell: its server in a real kernel, and what `show` refuses."""

import re
import urllib.error
import urllib.request

import psutil
import pytest

from tests.engine.notebook.kernels import Kernel

APP = """
import os, sys
from dash import Dash, html
from jobqueue.notebook import show

small = Dash("small")
small.layout = html.Div()
"""
PAGES = """
import dash
paged = Dash("paged", use_pages=True, pages_folder="")
dash.register_page("hello", path="/hello", layout=html.Div())
dash.register_page("job", path_template="/jobs/<job>", layout=html.Div())
"""
# By the cell's last line: its error.
REFUSED = {
    "show(small.server)": "TypeError: show() takes a Dash app, not a Flask server. Pass app, not app.server.",
    "show(42)": "TypeError: show() takes a Dash app, not 42.",
    'show(paged, "/helo?job=1")': 'ValueError: No page has the path "/helo". Pages: /hello, /jobs/<job>.',
    'show(paged, "hello")': "ValueError: The path 'hello' does not begin with a slash. Pass a page's address, such as /jobs.",
}


@pytest.fixture(scope="module")
def notebook(shared: Kernel) -> Kernel:
    assert not shared.run(APP).error
    return shared


def shown(kernel: Kernel, code: str) -> str:
    """Return the address of the frame that a cell shows."""
    cell = kernel.run(code)
    assert not cell.error, cell.traceback
    [address] = re.findall(r'src="([^"]+)"', cell.values[0]["text/html"])
    return address


def listening(kernel: Kernel) -> set[int]:
    """Return the ports that the kernel listens on."""
    connections = psutil.Process(kernel.pid).net_connections("tcp")
    return {connection.laddr.port for connection in connections if connection.status == psutil.CONN_LISTEN}


def test_ten_runs_of_a_cell_share_one_socket_and_a_new_app_closes_it(notebook: Kernel) -> None:
    before = listening(notebook)
    addresses = {shown(notebook, "show(small)") for _ in range(10)}
    assert len(addresses) == 1 and len(listening(notebook) - before) == 1
    [old] = addresses
    with urllib.request.urlopen(old) as answer:
        assert answer.status == 200
    new = shown(notebook, f"{APP}\nshow(small)")
    assert new != old and len(listening(notebook) - before) == 1
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(old)
    with urllib.request.urlopen(new) as answer:
        assert answer.status == 200


def test_behind_a_base_url_the_frame_goes_through_the_proxy(notebook: Kernel) -> None:
    address = shown(
        notebook, 'os.environ["JUPYTERHUB_SERVICE_PREFIX"] = "/user/ann/"\nshow(small, "/?job=1", height=9)'
    )
    assert re.fullmatch(r"/user/ann/proxy/\d+/\?job=1", address)
    port = int(address.split("/")[4])
    cell = notebook.run('sys.modules["jupyter_server_proxy"] = None\nshow(small)')
    notebook.run('del sys.modules["jupyter_server_proxy"], os.environ["JUPYTERHUB_SERVICE_PREFIX"]')
    assert cell.error == (
        f"RuntimeError: This notebook runs behind /user/ann/, which needs jupyter-server-proxy to reach port {port}. Install it "
        f"where JupyterLab runs, or open http://127.0.0.1:{port}/ on that machine."
    )


def test_what_cannot_be_shown_is_refused_in_a_sentence(notebook: Kernel) -> None:
    assert not notebook.run(PAGES).error
    before = listening(notebook)
    assert {line: notebook.run(line).error for line in REFUSED} == REFUSED
    assert listening(notebook) == before
