"""The web process of a Dash app: its server, how it stops, and the addresses that hosts probe.

`cli.web_command` is `python -m app web`, `python -m jobqueue.web app:server` the same for any app, and `preparing.prepare` adds
the probes, compression and limits to a Flask server. A slow client occupies no thread, and a stop loses no request that has
arrived. Nothing is imported here: the commands do not load Dash.
"""
