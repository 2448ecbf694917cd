"""The image starts what the Procfile says."""

import json
import re

from honcho.environ import parse_procfile

from app.settings import ROOT


def test_the_image_starts_the_web_process_of_the_procfile() -> None:
    web = dict(parse_procfile((ROOT / "Procfile").read_text()).processes)["web"]
    (command,) = re.findall(r"(?m)^CMD (\[.*\])$", (ROOT / "Dockerfile").read_text())
    assert json.loads(command) == web.split()


def test_the_image_has_the_python_of_the_app() -> None:
    versions = re.findall(r"(?m)^FROM python:([\d.]+)-", (ROOT / "Dockerfile").read_text())
    assert versions == 2 * [(ROOT / ".python-version").read_text().strip()]
