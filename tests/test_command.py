"""The command line: every verb explains itself, mistakes are one line, JSON is one document."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.configuration import ConfigurationError, load
from tests.conftest import ROOT
from tests.serving import free_socket


def run(*arguments: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


VERBS = (
    "adapters advise bench curate docs doctor engine evaluate experiments jobs keys log pack "
    "review route router serve synthesize train up"
)


def test_the_door_lists_every_verb() -> None:
    text = run("--help").stdout
    for verb in VERBS.split():
        assert f"\n  {verb} " in text


@pytest.mark.parametrize("verb", VERBS.split())
def test_every_verb_has_help(verb: str) -> None:
    done = run(verb, "--help")
    assert done.returncode == 0
    assert "Usage: turnout " + verb in done.stdout


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[sever]\nport = 1", "did you mean 'server'?"),
        ("[server]\nprot = 1", "server.prot: no such setting; did you mean 'port'?"),
        ("[server]\nport = 99999", "server.port"),
        ('[[engines]]\nname="a"\nurls=["http://x"]\nmodle="m"', "did you mean 'model'?"),
        (
            '[[engines]]\nname="local"\nurls=["http://x"]\nmodel="m"\n'
            '[[targets]]\nname="general"\nengine="locla"',
            "did you mean 'local'?",
        ),
        ('[[engines]]\nname="a"\nurls=["x"]\nmodel="m"', "'x' is not an http or https URL"),
        (
            '[[engines]]\nname="a"\nurls=["http://x"]\nmodel="m"\nkey_env="TURNOUT_TEST_ABSENT"',
            "the environment has no TURNOUT_TEST_ABSENT",
        ),
        (
            '[[engines]]\nname="a"\nurls=["http://x"]\nmodel="m"\nmax_loras=8\nmax_cpu_loras=4',
            "max_cpu_loras 4 is below max_loras 8",
        ),
        ('[artifacts]\nroot="nosuch://bucket"', "fsspec knows no filesystem 'nosuch'"),
        ("[[engines]", "not valid TOML"),
    ],
)
def test_a_misspelled_setting_stops_the_start(tmp_path: Path, toml: str, said: str) -> None:
    config = tmp_path / "turnout.toml"
    config.write_text(toml)
    with pytest.raises(ConfigurationError) as caught:
        load(config)
    assert said in str(caught.value)
    done = run("serve", "--config", str(config))
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr


def test_environment_variables_count_and_are_checked(tmp_path: Path) -> None:
    wrong = run("keys", "list", "--state", str(tmp_path), TURNOUT_SERVR__PORT="1")
    assert wrong.returncode == 2 and "did you mean 'TURNOUT_SERVER'?" in wrong.stderr
    store = tmp_path / "other.db"
    right = run("keys", "list", "--json", TURNOUT_STORE__URL=f"sqlite:///{store}")
    assert json.loads(right.stdout) == [] and store.exists()


def test_keys_are_made_listed_and_revoked(tmp_path: Path) -> None:
    state = ("--state", str(tmp_path))
    made = json.loads(run("keys", "create", "app", "--json", *state).stdout)
    assert made["role"] == "user" and made["secret"].startswith("sk-turnout-")
    assert run("keys", "revoke", made["id"], *state).returncode == 0
    again = run("keys", "revoke", made["id"], *state)
    assert again.returncode == 1 and "no live key" in again.stderr
    (listed,) = json.loads(run("keys", "list", "--json", *state).stdout)
    assert listed["revoked"] and "secret" not in listed


def test_an_empty_pack_is_refused_everywhere(tmp_path: Path) -> None:
    pack = tmp_path / "empty"
    pack.mkdir()
    (pack / "pack.toml").write_text('name = "empty"\ntitle = "Empty"\n')
    checked = run("pack", "check", str(pack), "--json")
    assert checked.returncode == 1
    assert "is empty" in json.loads(checked.stdout)[0]["problem"]
    config = tmp_path / "turnout.toml"
    text = (ROOT / "turnout.toml").read_text()
    config.write_text(text.replace("examples/espresso", str(pack)))
    started = run("up", "--config", str(config), "--state", str(tmp_path / "state"))
    assert started.returncode == 1 and "is empty" in started.stderr


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with free_socket() as taken:
        port = str(taken.getsockname()[1])
        for verb in ("up", "serve"):
            done = run(verb, "--port", port, "--admin-port", "0", "--state", str(tmp_path))
            assert done.returncode == 2
            assert f"cannot listen on 127.0.0.1:{port}" in done.stderr


def test_packs_are_made_and_checked(tmp_path: Path) -> None:
    assert run("pack", "new", str(tmp_path / "roses")).returncode == 0
    assert run("pack", "check", str(tmp_path / "roses")).returncode == 0
    assert run("pack", "new", str(tmp_path / "roses")).returncode == 1
    assert run("pack", "check").returncode == 0


def test_an_import_that_cannot_be_served_is_refused(tmp_path: Path, base_model: Path) -> None:
    adapter, state = tmp_path / "adapter", str(tmp_path / "state")
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text("{")
    base = ("--domain", "espresso", "--base", str(base_model))
    done = run("adapters", "import", str(adapter), *base, "--state", state)
    assert done.returncode == 1 and "not valid JSON" in done.stderr


def test_the_doctor_names_what_is_missing(tmp_path: Path) -> None:
    with free_socket() as closed_soon:
        port = closed_soon.getsockname()[1]
    config = tmp_path / "turnout.toml"
    config.write_text((ROOT / "turnout.toml").read_text().replace(":8100", f":{port}"))
    done = run("doctor", "--json", "--state", str(tmp_path), "--config", str(config))
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    assert checks["configuration"]["ok"] and checks["store"]["ok"]
    assert "turnout router fit" in checks["router"]["detail"]
    assert "turnout docs ingest" in checks["pack examples/espresso"]["detail"]
    assert "does not answer" in checks[f"engine local http://127.0.0.1:{port}"]["detail"]
