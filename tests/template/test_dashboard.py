"""The dashboard and the page on operating name metrics that exist, and no metric is left out."""

import json
import re
from pathlib import Path

from jobqueue.monitoring.snapshot import Snapshot
from jobqueue.telemetry.metrics import registry_of

DOCS = Path(__file__).parents[2] / "docs"
METRIC = re.compile(r"\bjobqueue_\w+")
ON_POSTGRES = {"kind": "connections", "amount": 1, "part": 20}


def exported() -> set[str]:
    families = registry_of(Snapshot(open=[], ended=[], surroundings=[ON_POSTGRES]), None).collect()
    return {family.name for family in families}


def asked(text: str) -> set[str]:
    return {name.removesuffix("_bucket") for name in METRIC.findall(text)}


def test_dashboard_shows_every_metric_and_no_other() -> None:
    dashboard = json.loads((DOCS / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [annotation["expr"] for annotation in dashboard["annotations"]["list"]]
    assert asked(" ".join(queries)) == exported()
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in dashboard["panels"]]
    assert len(set(places)) == len(places)


def test_page_on_operating_explains_every_metric_and_no_other() -> None:
    assert asked((DOCS / "operating.md").read_text()) == exported()
