"""deploy/: every file is read by the program it is written for, and each environment's settings by the gateway."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from surefoot.config import load
from surefoot.gateway.settings import serve_settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "chart"
COMPOSE = DEPLOY / "compose"
VALUES = ("minimal", "dev", "staging", "prod")
IN_THE_IMAGE = ("serve", "openai", "anthropic", "google", "redis", "jobs", "vault", "otel")
DIGEST = "sha256:" + "a" * 64


def tool(name: str) -> str:
    """A program beside this interpreter or on the path; without it the test is skipped."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; `make test-deploy` installs it")
    return found


def ran(*words: object) -> str:
    """What a program says; its failure fails the test with it."""
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def compose(*overlays: str) -> dict[str, Any]:
    return yaml.safe_load((COMPOSE / ".".join(["compose", *overlays, "yaml"])).read_text(encoding="utf-8"))


def test_yaml_and_json_files_are_read():
    """Those that are no templates."""
    files = [one for one in DEPLOY.rglob("*.y*ml") if "templates" not in one.parts]
    assert len(files) >= 14
    assert all(isinstance(value, dict) for one in files for value in yaml.safe_load_all(one.read_text(encoding="utf-8")))


def test_the_gateway_reads_the_settings_of_compose(tmp_path):
    """A word that the configuration does not know would only be found by the container that does not start."""
    pytest.importorskip("openai")
    (tmp_path / "openai_api_key").write_text("sk-made-up", encoding="utf-8")
    text = (COMPOSE / "surefoot.toml").read_text(encoding="utf-8").replace("/run/secrets", str(tmp_path))
    (tmp_path / "surefoot.toml").write_text(text, encoding="utf-8")
    models = load(tmp_path / "surefoot.toml")
    assert serve_settings(models.serve).drain_s < float(compose()["services"]["gateway"]["stop_grace_period"].removesuffix("s"))


def test_every_service_of_compose_is_confined():
    """No image without a version, no privilege left, a file for each secret; the gateway as its own user, on what it cannot write."""
    said = compose()
    assert "name" not in said
    for name, service in said["services"].items():
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.search(r":[\w.:-]*\d", service["image"]), name
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        assert set(service.get("secrets", [])) <= set(said["secrets"]), name
        assert not [value for key, value in service.get("environment", {}).items() if "PASSWORD" in key and "FILE" not in key], name
    gateway = said["services"]["gateway"]
    assert (gateway["user"], gateway["read_only"]) == ("10001:10001", True)
    for overlay in VALUES[1:]:
        assert set(compose(overlay)["services"]) <= set(said["services"])


def test_the_image_has_every_dependency_that_its_extras_ask_for():
    """deploy/requirements.txt is made from pyproject.toml: a dependency that is new or has a new bound must be in it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [Requirement(one) for one in (*project["dependencies"], *(dep for extra in IN_THE_IMAGE for dep in extras[extra]))]
    lines = re.findall(r"^([\w.-]+)==([\w.+!-]+)", (DEPLOY / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    pinned = {name.lower().replace("_", "-"): version for name, version in lines}
    remake = "made anew by  uv pip compile pyproject.toml -o deploy/requirements.txt ...  (deploy/README.md)"
    for one in wanted:
        if one.name != "surefoot":
            assert one.specifier.contains(pinned.get(one.name.lower(), "0")), f"{one}: {remake}"


def test_secrets_are_drawn_once_and_kept(tmp_path, monkeypatch):
    """A second run that drew another password would lock the gateway out of its database."""
    folder = tmp_path / "secrets"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-made-up")
    seen = []
    for _ in range(2):
        ran(DEPLOY / "scripts" / "make-secrets.sh", folder)
        seen.append({one.name: one.read_text(encoding="utf-8") for one in folder.iterdir()})
    assert seen[0] == seen[1]
    found = seen[0]
    assert set(found) == set(compose()["secrets"])
    assert len(found["postgres_password"]) == 48
    assert found["pg_service"] == f"[surefoot]\npassword={found['postgres_password']}\n"
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.heavy
def test_hadolint_finds_nothing():
    """In the Dockerfile."""
    ran(tool("hadolint"), DEPLOY / "Dockerfile")


@pytest.mark.heavy
@pytest.mark.parametrize("overlay", [(), *((one,) for one in VALUES[1:])], ids=lambda overlay: (*overlay, "base")[0])
def test_compose_reads_its_files(overlay, monkeypatch):
    """The base alone and under each overlay."""
    monkeypatch.setenv("SUREFOOT_IMAGE", f"surefoot@{DIGEST}")
    files = [COMPOSE / "compose.yaml", *(COMPOSE / f"compose.{one}.yaml" for one in overlay)]
    program = tool("docker-compose")
    words = [program, *(word for file in files for word in ("-f", str(file))), "config", "-q"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.fixture(scope="module")
def rendered(tmp_path_factory) -> dict[str, Path]:
    """A folder of manifests for each set of values."""
    if importlib.util.find_spec("helm_python") is None:
        pytest.skip("helm-python-sdk is not installed; `make test-deploy` installs it")
    return {name: render(tmp_path_factory.mktemp(name), overlay(name)) for name in VALUES}


def overlay(name: str) -> dict[str, Any]:
    """The values of an environment, with the digest that a deployment sets."""
    return {"image": {"digest": DIGEST}, **yaml.safe_load((CHART / f"values-{name}.yaml").read_text(encoding="utf-8"))}


def render(folder: Path, values: dict[str, Any]) -> Path:
    import helm_python

    chart = helm_python.Chart.load(str(CHART))
    for name, text in chart.render(values, name="surefoot", namespace="surefoot").items():
        if text.strip() and name.endswith(".yaml"):
            (folder / Path(name).name).write_text(text, encoding="utf-8")
    return folder


def manifests(folder: Path) -> dict[str, dict[str, Any]]:
    found = [one for file in folder.glob("*.yaml") for one in yaml.safe_load_all(file.read_text(encoding="utf-8")) if one]
    return {one["kind"]: one for one in found}


@pytest.mark.heavy
@pytest.mark.parametrize("name", VALUES)
def test_helm_lint_finds_nothing(name, rendered):
    """Not even a remark."""
    import helm_python

    found = helm_python.lint(str(CHART), values=overlay(name))
    assert (found["messages"], found["errors"]) == ([], [])


@pytest.mark.heavy
@pytest.mark.parametrize("name", VALUES)
def test_the_gateway_reads_the_settings_of_the_chart(name, rendered):
    """And the pod has more time to end than its requests have."""
    found = manifests(rendered[name])
    settings = serve_settings(tomllib.loads(found["ConfigMap"]["data"]["surefoot.toml"])["serve"])
    pod = found["Deployment"]["spec"]["template"]["spec"]
    sleep_s = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > settings.drain_s + sleep_s
    assert pod["automountServiceAccountToken"] is found["ServiceAccount"]["automountServiceAccountToken"] is False
    assert {probe: pod["containers"][0][f"{probe}Probe"]["httpGet"]["path"] for probe in ("liveness", "readiness")} == {
        "liveness": "/health/live",
        "readiness": "/health/ready",
    }


@pytest.mark.heavy
def test_production_scales_by_what_is_in_flight_and_waits(rendered):
    """60 % of what a pod takes at once, and never below the pods that may be missing."""
    found = manifests(rendered["prod"])
    scaler = found["HorizontalPodAutoscaler"]["spec"]
    targets = {one["pods"]["metric"]["name"]: one["pods"]["target"]["averageValue"] for one in scaler["metrics"] if "pods" in one}
    assert targets == {"surefoot_in_flight": "307", "surefoot_queued": "1"}
    assert "replicas" not in found["Deployment"]["spec"]
    assert scaler["minReplicas"] > found["PodDisruptionBudget"]["spec"]["maxUnavailable"]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"replicas": 2}, "several replicas need postgresql"),
        ({"vault": {"enabled": True}}, "needs vault.address"),
        ({"ingress": {"enabled": True, "host": "a.example"}}, "ingress.tlsSecret"),
    ],
)
def test_values_that_cannot_be_meant_are_refused(values, said, rendered, tmp_path):
    """Before anything is in the cluster."""
    with pytest.raises(Exception, match=said):
        render(tmp_path, values)


@pytest.mark.heavy
def test_manifests_keep_the_schemas_of_kubernetes(rendered):
    """Strictly: a field that no schema knows is an error."""
    files = [file for folder in rendered.values() for file in sorted(folder.glob("*.yaml"))]
    ran(tool("kubernetes-validate"), "--strict", "--quiet", "-k", "1.37", *files)


@pytest.mark.heavy
@pytest.mark.timeout(900)
def test_checkov_finds_nothing(rendered, tmp_path, monkeypatch):
    """In the Dockerfile and in what the chart makes of each set of values; nothing is skipped."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):  # what it would ask for is its paid service: let the answer be no at once
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    shutil.copy(DEPLOY / "Dockerfile", tmp_path)
    for name, folder in rendered.items():
        shutil.copytree(folder, tmp_path / name)
    said = ran(tool("checkov"), "--skip-download", "--quiet", "--compact", "--framework", "kubernetes", "dockerfile", "-d", tmp_path)
    assert len(re.findall(r"Failed checks: 0, Skipped checks: 0", said)) == 2, said
