"""A Dash app whose pages a consumer prints. Only the consumer imports it: an app takes the callbacks of other tests."""

from dash import Dash, html
from flask import Flask

server = Flask(__name__)
app = Dash(__name__, server=server, title="A printed page")  # type: ignore[arg-type]  # as in app.web
app.layout = html.H1("Printed")


@server.get("/endless")
def endless() -> str:
    return "<h1>Endless</h1><script>for (;;) {}</script>"
