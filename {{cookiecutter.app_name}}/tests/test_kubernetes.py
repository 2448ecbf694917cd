"""The manifests start what the Procfile says, and scale workers by the queues that these serve."""

import re
from typing import Any

import yaml
from honcho.environ import parse_procfile
from jobqueue.ledger.queues import parse

from app.settings import ROOT


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    files = (ROOT / "kubernetes").rglob("*.yaml")
    found = [part for path in files for part in yaml.safe_load_all(path.read_text()) if part["kind"] == kind]
    return {part["metadata"]["name"]: part["spec"] for part in found}


def container(deployment: str) -> dict[str, Any]:
    (found,) = of_kind("Deployment")[deployment]["template"]["spec"]["containers"]
    return dict(found)


def test_each_process_of_the_procfile_is_a_deployment_with_its_command() -> None:
    processes = dict(parse_procfile((ROOT / "Procfile").read_text()).processes)
    commands = {name: " ".join(container(name)["args"]) for name in of_kind("Deployment")}
    assert {name: commands.get(name) for name in processes} == processes
    assert set(commands.values()) <= set(processes.values())


def test_workers_are_scaled_by_the_queues_that_they_serve() -> None:
    for scaled in of_kind("ScaledObject").values():
        worker = container(scaled["scaleTargetRef"]["name"])
        served = [variable["value"] for variable in worker.get("env", []) if variable["name"] == "QUEUES"]
        counted = re.findall(r"WHERE queue IN \((.*)\)", scaled["triggers"][0]["metadata"]["query"])
        assert [set(re.findall(r"'(.+?)'", queues)) for queues in counted] == [set(parse(queues)) for queues in served]
