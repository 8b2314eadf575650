"""Both verbs on the small real router and a log of its own domains."""

import json
import random
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from adapters.experiments.reading import read_experiment
from router import Router, current_folder
from router.cli import router as router_group
from router.examples import Example
from router.fitting.artefact import publish
from router.fitting.fit import FittedRouter
from router.logged import Logged
from tests.router.learning.log import logged

NEW = {
    "espresso": [
        "clean the espresso steam wand",
        "grinder burrs are worn",
        "boiler needs descaling",
    ],
    "library": ["renew a book at the library", "my library card is lost", "overdue dvd fee"],
    "general": ["tell me a poem", "what is the capital of spain", "sort a list in python"],
}


@dataclass(frozen=True)
class Workspace:
    artifacts: Path
    encoder: Path
    examples: list[dict[str, str]]
    log: list[Logged] = field(default_factory=list)

    def routing_examples(self) -> list[dict[str, str]]:
        return self.examples

    def routing_documents(self) -> dict[str, list[str]]:
        return {}

    def logged(self, since: float | None = None, until: float | None = None) -> Iterator[Logged]:
        return (one for one in self.log if one.created >= (since or 0.0))


def traffic(router: Router, n: int = 600) -> list[Logged]:
    """Right targets are always praised, wrong ones never; half of the traffic explores."""
    draw = random.Random(0)
    log = []
    for number in range(n):
        label = draw.choice(sorted(NEW))
        text = draw.choice(NEW[label])
        decision = router.decide(text)
        target = draw.choice(sorted(NEW)) if draw.random() < 0.5 else decision.target
        propensity = 0.5 / 3 + 0.5 * (target == decision.target)
        changes = {"propensity": propensity, "unit": f"u{number % 60}", "created": float(number)}
        log.append(logged(text, target, float(target == label), **changes))
    return log


@pytest.fixture
def workspace(
    tmp_path: Path, encoder_folder: Path, examples: list[Example], fitted: FittedRouter
) -> Workspace:
    rows = [{"text": example.text, "label": example.label} for example in examples]
    publish(fitted, tmp_path / "artifacts" / "router")
    return Workspace(tmp_path / "artifacts", encoder_folder, rows)


@pytest.fixture
def evaluation(tmp_path: Path, examples: list[Example]) -> Path:
    file = tmp_path / "eval.jsonl"
    rows = [{"text": example.text, "label": example.label} for example in examples]
    file.write_text("\n".join(map(json.dumps, rows)))
    return file


def turnout_router(workspace: Workspace, *arguments: str | Path) -> Result:
    return CliRunner().invoke(router_group, [str(a) for a in arguments], obj=workspace)


def test_what_is_learned_lies_beside_the_serving_router(
    workspace: Workspace, evaluation: Path, router: Router
) -> None:
    workspace.log.extend(traffic(router))
    serving = current_folder(workspace.artifacts / "router")
    result = turnout_router(workspace, "learn", "--eval", evaluation, "--json")
    assert result.exit_code == 0, result.output
    row = json.loads(result.stdout)
    counts = row["counts"]
    assert counts["told"] == 420 and 0 < counts["learned"] <= 9
    assert row["accepted"] and row["labelled"]["n"] == 24
    assert Path(row["folder"]).name.startswith("v2-")
    assert current_folder(workspace.artifacts / "router") == serving
    learned = Router.load(Path(row["folder"]))
    assert learned.labels == ("espresso", "general", "library")
    assert learned.version == Path(row["folder"]).name


def test_how_to_try_it_is_a_design_that_can_be_read(
    workspace: Workspace, evaluation: Path, router: Router
) -> None:
    workspace.log.extend(traffic(router))
    shown = turnout_router(workspace, "learn", "--eval", evaluation).stdout
    design = shown.split("write this to ")[1].split("\n\n")[1]
    serving = current_folder(workspace.artifacts / "router")
    assert serving is not None
    experiment = read_experiment(tomllib.loads(design))
    assert (experiment.domain, experiment.metric.name) == ("auto", "thumb")
    control, learned = (arm.router for arm in experiment.arms)
    assert (control, str(learned)[:3]) == (serving.name, "v2-")
    assert f"turnout experiments create --file {learned}.toml" in shown


def test_without_labelled_lines_examples_are_held_back(
    workspace: Workspace, router: Router, tmp_path: Path
) -> None:
    workspace.log.extend(traffic(router))
    result = turnout_router(workspace, "learn", "--out", tmp_path / "out", "--json")
    row = json.loads(result.stdout)
    assert row["labelled"]["n"] == 3  # of each label the fifth
    assert (result.exit_code == 0) == row["accepted"] == (tmp_path / "out").exists()


def test_what_is_judged_by_is_not_learned(
    workspace: Workspace, router: Router, tmp_path: Path
) -> None:
    workspace.log.extend(traffic(router))
    evaluation = tmp_path / "all.jsonl"
    rows = [{"text": text, "label": label} for label, texts in NEW.items() for text in texts]
    evaluation.write_text("\n".join(map(json.dumps, rows)))
    result = turnout_router(workspace, "learn", "--eval", evaluation)
    assert result.exit_code == 2
    assert "beyond the 9 that the examples have" in result.stderr


def test_a_gain_that_is_not_shown_leaves_nothing_behind(
    workspace: Workspace, evaluation: Path, router: Router
) -> None:
    workspace.log.extend(traffic(router))
    result = turnout_router(workspace, "learn", "--eval", evaluation, "--min-gain", "0.9")
    assert result.exit_code == 1 and "nothing is written: a gain of 0.9" in result.stdout
    assert [folder.name[:3] for folder in (workspace.artifacts / "router").glob("v*")] == ["v1-"]


def test_a_router_is_judged_on_the_log(workspace: Workspace, router: Router) -> None:
    workspace.log.extend(traffic(router))
    serving = current_folder(workspace.artifacts / "router")
    assert serving is not None
    row = json.loads(turnout_router(workspace, "ope", "--model", serving, "--json").stdout)
    assert (row["n"], row["explored"], row["differing"]) == (600, 600, 0)
    assert row["difference"]["dr"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert row["verdict"] == "inconclusive"
    shown = turnout_router(workspace, "ope", "--model", serving, "--since", "1970-01-01T00:05:00")
    assert "300 rated requests" in shown.stdout
    assert "both routers do the same on all 300 rated requests" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ope", "--model", "absent"), "make a router with: turnout router fit"),
        (("ope",), "Missing option '--model'"),
        (("learn",), "the log has no request to learn from that was rated by 'thumb'"),
        (("learn", "--data", "absent.jsonl"), "absent.jsonl cannot be read"),
        (("learn", "--since", "yesterday"), "does not match the formats"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(
    workspace: Workspace, arguments: tuple[str, ...], message: str
) -> None:
    result = turnout_router(workspace, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr and "Traceback" not in result.output
    assert result.stdout == ""


def test_an_empty_log_has_an_empty_answer(workspace: Workspace) -> None:
    serving = current_folder(workspace.artifacts / "router")
    assert serving is not None
    row = json.loads(turnout_router(workspace, "ope", "--model", serving, "--json").stdout)
    assert (row["n"], row["logged"], row["verdict"]) == (0, None, "no_support")
    assert row["why"] == "no routed request was rated; see --metric and --since"
