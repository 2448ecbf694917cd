"""Tests of the files for Docker and Kubernetes, by the programs that read them. tests/deploy/test_image.py runs the image."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from kubernetes_validate import ValidationError, validate

from jobqueue.huey import GRACE
from jobqueue.settings import LINGER
from jobqueue.web.server import FINISH
from tests import baking
from tests.baking import Bake

KUBERNETES = ["1.35", "1.36", "1.37"]
TESTS = ["test_dockerfile", "test_compose", "test_kubernetes"]
OVERLAYS = ["staging", "production"]
CONTAINERS = baking.KIT / "docs" / "containers.md"
KEDA = "keda.sh/v1alpha1"
SECRETS = {"SECRET_KEY": "a-key", "POSTGRES_PASSWORD": "a-password"}

# An answer, a file, what is replaced in it, and by what.
DRIFTS = [
    ("containers", "Procfile", "app web", "app web --fast"),
    ("containers", "Procfile", "app worker", "app worker --fast"),
    ("containers", "Procfile", "worker:", "beat: python -m app beat\nworker:"),
    ("containers", "Dockerfile", '"web"', '"worker"'),
    ("containers", "Dockerfile", "FROM python:3.11", "FROM python:3.12"),
    ("containers", "Dockerfile", 'CMD ["python", "-m", "app", "web"]', "CMD python -m app web"),
    ("containers", "compose.yaml", "command: python -m app worker", "command: python -m app workers"),
    ("kubernetes", "Procfile", "app worker", "app worker --fast"),
    ("kubernetes", "Procfile", "worker:", "beat: python -m app beat\nworker:"),
    ("kubernetes", "kubernetes/base/web.yaml", "app, web]", "app, web, --fast]"),
    ("kubernetes", "kubernetes/base/worker.yaml", "app, worker]", "app, web]"),
    ("kubernetes", "kubernetes/overlays/production/scaling.yaml", ") AS work", ") AS work WHERE queue IN ('heavy')"),
]


@pytest.fixture
def containers(example: str, bake: Bake) -> Path:
    return bake(example, deploy="containers")


@pytest.fixture
def kubernetes(bake: Bake) -> Path:
    return bake("blank", deploy="kubernetes")


@pytest.fixture(params=OVERLAYS)
def rendered(request: pytest.FixtureRequest, kubernetes: Path) -> list[dict[str, Any]]:
    return render(kubernetes / "kubernetes" / "overlays" / request.param)


def test_hadolint_finds_nothing_in_the_dockerfile(containers: Path) -> None:
    done = subprocess.run(
        [baking.PROGRAMS / "hadolint", "--failure-threshold=ignore", "Dockerfile"],
        cwd=containers,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_compose_accepts_the_file(containers: Path, example: str) -> None:
    done = compose(containers, **SECRETS)
    assert (done.returncode, done.stderr) == (0, "")
    services = json.loads(done.stdout)["services"]
    dask = {"dask-scheduler", "dask-worker"} if example == "portfolio" else set()
    assert services.keys() == {"web", "worker", "postgres", "valkey", "caddy"} | dask
    assert {name for name, service in services.items() if "profiles" not in service} == services.keys() - dask - {
        "caddy"
    }
    for service in (services["web"], services["worker"]):
        assert (service["read_only"], service["tmpfs"], service["cap_drop"]) == (True, ["/tmp"], ["ALL"])
        assert seconds(service["stop_grace_period"]) > max(GRACE, LINGER + FINISH)
    assert all("healthcheck" in services[name] for name in ("web", "postgres", "valkey"))
    assert "${" not in json.dumps(services)


def test_settings_of_env_reach_the_app_but_not_dask_which_workers_alone_reach(bake: Bake, tmp_path: Path) -> None:
    app = shutil.copytree(bake("portfolio", deploy="containers"), tmp_path / "app")
    app.joinpath(".env").write_text(
        "PORT=8051\nHOST=127.0.0.1\nTIMEZONE=Europe/Paris\nDASK_SCHEDULER=tcp://dask-scheduler:8786\n"
    )
    services = json.loads(compose(app, **SECRETS).stdout)["services"]
    settings = {name: service["environment"] for name, service in services.items() if "environment" in service}
    for name in ("web", "worker"):
        assert settings[name]["TIMEZONE"] == "Europe/Paris"
        assert (settings[name]["HOST"], settings[name]["PORT"]) == ("0.0.0.0", "8050")
    assert {port["published"] for port in services["web"]["ports"]} == {"8051"}
    assert [name for name in settings if "DASK_SCHEDULER" in settings[name]] == ["web", "worker"]
    assert {name for name in services if "dask" in services[name]["networks"]} == {
        "worker",
        "dask-scheduler",
        "dask-worker",
    }
    assert services["dask-scheduler"]["networks"].keys() == {"dask"}


@pytest.mark.parametrize("missing", SECRETS)
def test_compose_says_which_secret_to_set(bake: Bake, missing: str) -> None:
    done = compose(bake("blank", deploy="containers"), **SECRETS | {missing: ""})
    assert done.returncode != 0
    assert f"required variable {missing} is missing a value: Add it to .env" in done.stderr


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_accepts_every_overlay(rendered: list[dict[str, Any]], version: str) -> None:
    accept(rendered, version)


@pytest.mark.parametrize("kind", ["Deployment", "Service", "NetworkPolicy", "Ingress", "ScaledObject"])
def test_a_field_that_does_not_exist_is_refused(kubernetes: Path, kind: str) -> None:
    rendered = render(kubernetes / "kubernetes" / "overlays" / "production")
    of_kind(rendered, kind).popitem()[1]["replica"] = 1
    with pytest.raises((AssertionError, ValidationError)):
        accept(rendered, KUBERNETES[-1])


def test_a_deploy_to_kubernetes_leaves_no_gap_and_processes_have_time_to_stop(rendered: list[dict[str, Any]]) -> None:
    deployments = of_kind(rendered, "Deployment")
    assert deployments.keys() == {"web", "worker"}
    for deployment in deployments.values():
        assert deployment["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
        assert deployment["template"]["spec"]["terminationGracePeriodSeconds"] > max(GRACE, LINGER + FINISH)
    (web,) = deployments["web"]["template"]["spec"]["containers"]
    paths = {name: web[name]["httpGet"]["path"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert paths == {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}
    (budget,) = of_kind(rendered, "PodDisruptionBudget").values()
    assert budget["selector"]["matchLabels"].items() <= deployments["web"]["template"]["metadata"]["labels"].items()


def test_containers_of_kubernetes_have_no_rights_and_no_secrets_in_the_manifests(
    rendered: list[dict[str, Any]],
) -> None:
    for deployment in of_kind(rendered, "Deployment").values():
        pod = deployment["template"]["spec"]
        (container,) = pod["containers"]
        assert (pod["securityContext"]["runAsNonRoot"], pod["securityContext"]["runAsUser"]) == (True, 10001)
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == ["/tmp"]
        assert {"secretRef": {"name": "secrets"}} in container["envFrom"]
    assert "Secret" not in {part["kind"] for part in rendered}
    assert not {"SECRET_KEY", "DATABASE_URL", "REDIS_URL"} & set(of_kind(rendered, "ConfigMap", "data"))


def test_requests_reach_the_web_process_alone(rendered: list[dict[str, Any]]) -> None:
    policies = of_kind(rendered, "NetworkPolicy")
    selected = {name: policy["podSelector"]["matchLabels"] for name, policy in policies.items()}
    for name, deployment in of_kind(rendered, "Deployment").items():
        labels = deployment["template"]["metadata"]["labels"].items()
        apply = [policies[policy] for policy, selector in selected.items() if selector.items() <= labels]
        assert all("Ingress" in policy["policyTypes"] for policy in apply)
        allowed = [rule for policy in apply for rule in policy.get("ingress", [])]
        assert allowed == ([{"ports": [{"port": "http"}]}] if name == "web" else [])


def test_production_never_has_less_than_one_worker(kubernetes: Path) -> None:
    rendered = render(kubernetes / "kubernetes" / "overlays" / "production")
    (scaled,) = of_kind(rendered, "ScaledObject").values()
    assert scaled["minReplicaCount"] == 1
    settings = next(part["data"] for part in rendered if part["kind"] == "ConfigMap")
    assert scaled["triggers"][0]["metadata"]["targetQueryValue"] == settings["WORKERS"]
    assert "replicas" not in of_kind(rendered, "Deployment")[scaled["scaleTargetRef"]["name"]]


def test_a_worker_for_one_queue_is_added_as_the_docs_say(
    kubernetes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = shutil.copytree(kubernetes, tmp_path / "app")
    base, production = app / "kubernetes" / "base", app / "kubernetes" / "overlays" / "production"
    for text in ("env: [{ name: QUEUES, value: heavy }]", ") AS work WHERE queue IN ('heavy')"):
        assert text in CONTAINERS.read_text()
    heavy = re.sub("(name|component): worker", r"\1: heavy", base.joinpath("worker.yaml").read_text())
    queues = r"\1\n          env: [{ name: QUEUES, value: heavy }]"
    base.joinpath("heavy.yaml").write_text(re.sub(r"(args: .*)", queues, heavy))
    replace(base / "kustomization.yaml", "worker.yaml", "worker.yaml, heavy.yaml")
    scaled = production.joinpath("scaling.yaml").read_text()
    of_heavy = scaled.replace("name: worker", "name: heavy").replace(") AS work", ") AS work WHERE queue IN ('heavy')")
    production.joinpath("scaling.yaml").write_text(f"{scaled}---\n{of_heavy}")
    for test in own_tests(app, monkeypatch):
        test()
    rendered = render(production)
    accept(rendered, KUBERNETES[-1])
    assert of_kind(rendered, "Deployment").keys() == {"web", "worker", "heavy"}
    assert {name: each["scaleTargetRef"]["name"] for name, each in of_kind(rendered, "ScaledObject").items()} == {
        "worker": "worker",
        "heavy": "heavy",
    }


@pytest.mark.parametrize("deploy", ["containers", "kubernetes"])
def test_an_app_without_drift_passes_its_tests(bake: Bake, deploy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tests = own_tests(bake("blank", deploy=deploy), monkeypatch)
    assert len(tests) >= 3
    for test in tests:
        test()


@pytest.mark.parametrize(("deploy", "name", "old", "new"), DRIFTS)
def test_any_drift_from_the_procfile_fails_a_test_of_the_app(
    bake: Bake, deploy: str, name: str, old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = shutil.copytree(bake("blank", deploy=deploy), tmp_path / "app")
    replace(app / name, old, new)
    tests = own_tests(app, monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        for test in tests:
            test()


def own_tests(app: Path, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Return the app's tests of how it is deployed. They read the files of this app."""
    found = []
    for name in TESTS:
        path = app / "tests" / f"{name}.py"
        if path.exists():
            module = ModuleType(name)
            SourceFileLoader(name, str(path)).exec_module(module)
            monkeypatch.setattr(module, "ROOT", app)
            found += [test for name, test in vars(module).items() if name.startswith("test_")]
    return found


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def accept(rendered: list[dict[str, Any]], version: str) -> None:
    """Validate manifests against the schemas of a version of Kubernetes. An unknown field raises an error.

    These schemas lack KEDA's kinds, so its fields are compared with those of its documentation that the app uses.
    """
    for part in rendered:
        if part["apiVersion"] == KEDA:
            (trigger,) = part["spec"]["triggers"]
            assert part["spec"].keys() == {"scaleTargetRef", "minReplicaCount", "maxReplicaCount", "triggers"}
            assert (trigger.keys(), trigger["type"]) == ({"type", "metadata"}, "postgresql")
            assert trigger["metadata"].keys() == {"connectionFromEnv", "targetQueryValue", "query"}
        else:
            validate(part, version, strict=True)


def compose(app: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    """Return what Compose reads in an app, for all profiles, as JSON. It needs no daemon for that."""
    command = [str(baking.PROGRAMS / "docker-compose"), "--profile=*", "config", "--format=json"]
    return subprocess.run(command, cwd=app, env=os.environ | settings, capture_output=True, text=True)


def render(folder: Path) -> list[dict[str, Any]]:
    kubectl = [str(baking.PROGRAMS / "kubectl"), "kustomize", str(folder)]
    return list(yaml.safe_load_all(subprocess.check_output(kubectl, text=True)))


def of_kind(rendered: list[dict[str, Any]], kind: str, key: str = "spec") -> dict[str, Any]:
    return {part["metadata"]["name"]: part[key] for part in rendered if part["kind"] == kind}


def seconds(duration: str) -> float:
    assert duration.endswith("s")
    return float(duration.removesuffix("s"))
