"""The script that comes with every page of an app which has a HueyManager or a JobPanel: it goes on asking a web that is away."""

from dash import hooks

hooks.script([{"namespace": "jobqueue", "relative_package_path": "dash/assets/reconnect.js"}])
