"""compose.yaml starts what the Procfile says."""

import yaml
from honcho.environ import parse_procfile

from app.settings import ROOT


def test_each_process_of_the_procfile_is_a_service_with_its_command() -> None:
    processes = dict(parse_procfile((ROOT / "Procfile").read_text()).processes)
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    assert {name: services.get(name, {}).get("command") for name in processes} == processes
