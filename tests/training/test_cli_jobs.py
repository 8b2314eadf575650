"""`turnout jobs`: what people and programs read, and what mistakes say."""

import json
from dataclasses import dataclass
from pathlib import Path

from click.testing import CliRunner, Result

from training.cli.jobs import jobs


@dataclass
class Workspace:
    """What these verbs need, in a temporary folder."""

    packs: tuple[Path, ...]
    store_url: str


def test_jobs_are_started_shown_and_changed(pack: Path, tmp_path: Path) -> None:
    workspace = Workspace((pack,), f"sqlite:///{tmp_path}/turnout.db")

    def turnout(*words: str) -> Result:
        return CliRunner().invoke(jobs, words, obj=workspace)

    made = json.loads(
        turnout("start", "boiler", "--from-log", "--reason", "new parts", "--json").stdout
    )
    name = made["id"]
    assert (made["state"], made["owner"], made["request"]["from_log"]) == (
        "queued",
        "turnout jobs",
        True,
    )
    assert [job["id"] for job in json.loads(turnout("list", "--json").stdout)] == [name]
    assert json.loads(turnout("list", "--domain", "pumps", "--json").stdout) == []
    assert turnout("pause", name).stdout == f"{name} is paused\n"
    assert turnout("resume", name).stdout == f"{name} is queued\n"
    assert json.loads(turnout("cancel", name, "--json").stdout)["state"] == "cancelled"
    shown = json.loads(turnout("show", name, "--json").stdout)
    assert [event["message"] for event in shown["events"]] == [
        "Started: new parts",
        "Paused by turnout jobs.",
        "Resumed by turnout jobs.",
        "Cancelled by turnout jobs.",
    ]
    assert "Started: new parts" in turnout("show", name).stdout
    again = turnout("pause", name)
    assert again.exit_code == 1
    assert f"job {name} is cancelled; this takes one that is queued, running" in again.stderr
    assert "no training job 'x'" in turnout("show", "x").stderr
    assert "no pack is named 'pumps'; configured: boiler" in turnout("start", "pumps").stderr
