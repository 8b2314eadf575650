"""The Kubernetes manifests against the API's own schema, our settings and our command line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.configuration import load
from tests.test_command import run

MANIFEST = Path(__file__).parent.parent / "deploy" / "kubernetes" / "training-job.yaml"


@pytest.fixture(scope="module")
def items() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(MANIFEST.read_text())["items"]
    return found


def pods(items: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    yield from (item["spec"]["template"]["spec"] for item in items if "template" in item["spec"])


def test_they_are_what_the_api_accepts(items: list[dict[str, Any]]) -> None:
    for item in items:
        kubernetes_validate.validate(item, kubernetes_validate.latest_version(), strict=True)
    assert [item["kind"] for item in items] == ["PersistentVolumeClaim", "Deployment", "Job"]


def test_their_variables_are_settings(
    items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    configuration = tmp_path / "turnout.toml"
    configuration.touch()
    # From secrets, from a ConfigMap, and a URL whose package the tests do not install.
    elsewhere = {
        "TURNOUT_STORE__URL": "postgresql://host/turnout",
        "TURNOUT_CONFIG": str(configuration),
        "TURNOUT_ARTIFACTS__ROOT": "/artifacts",
    }
    for pod in pods(items):
        (container,) = pod["containers"]
        for variable in container["env"]:
            name = variable["name"]
            if name.startswith("TURNOUT_"):
                monkeypatch.setenv(name, elsewhere.get(name) or variable["value"])
        settings = load()
        assert settings.state == Path("/var/turnout")
        assert settings.model_cache == Path("/var/turnout/models")
        assert settings.store_url == elsewhere["TURNOUT_STORE__URL"]
        assert settings.artifacts.root == elsewhere["TURNOUT_ARTIFACTS__ROOT"]


def test_nothing_is_written_but_to_volumes(items: list[dict[str, Any]]) -> None:
    for pod in pods(items):
        (container,) = pod["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}
        secret = [one["name"] for one in container["env"] if "valueFrom" in one]
        assert secret == ["TURNOUT_STORE__URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]


def test_their_commands_exist(items: list[dict[str, Any]]) -> None:
    for pod in pods(items):
        arguments = pod["containers"][0]["args"]
        assert run(*arguments, "--help").returncode == 0
