"""The picture of an experiment: what is drawn, to which file, and when it cannot be."""

import sys
from io import BytesIO
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from adapters.cli.experiments import experiments
from adapters.errors import ExportFailed
from adapters.experiments.analysis import analyse
from adapters.experiments.design import Experiment
from adapters.experiments.picture import draw
from adapters.experiments.report import Report
from tests.adapters.experiments.designs import ARMS, design
from tests.adapters.experiments.samples import entry, measured, move, sample
from tests.adapters.experiments.test_cli import ARMS as GIVEN
from tests.adapters.experiments.test_cli import Desk

THREE = [*ARMS, {"name": "other", "model": "base"}]
MOVES = [
    move("2025-01-01T00:00:00Z", control=0.9, new=0.05, other=0.05),
    move("2096-10-02T07:15:00Z", control=0.5, new=0.25, other=0.25),  # after 500 units
    move("2096-10-02T07:15:01Z", control=0.5, new=0.25, other=0.25),
]
PNG = b"\x89PNG\r\n\x1a\n"


def told(made: Experiment, units: int = 1000) -> Report:
    rng, names = np.random.default_rng(3), [arm.name for arm in made.live]
    arms = {name: sample((rng.random(units) < 0.5).astype(float)) for name in names}
    return analyse(entry(made, **dict.fromkeys(names, 1.0)), measured(arms), MOVES)


def svg(report: Report, made: Experiment) -> str:
    file = BytesIO()
    draw(report, made, MOVES, file, "svg")
    text = file.getvalue().decode()
    ElementTree.fromstring(text)
    return text


def test_every_arm_has_its_panel_with_band_goal_and_stages() -> None:
    made = design(arms=THREE, guardrails=[])
    text = svg(told(made), made)  # matplotlib repeats every text in a comment
    for arm in ("new", "other"):
        assert text.count(f"<!-- {arm} against control: ") == 1
    assert text.count("<!-- minimum effect -->") == 2
    assert text.count("<!-- 25 % -->") == 2
    assert text.count("FillBetweenPolyCollection") == 2
    assert "<!-- difference in thumb (more is better) -->" in text


def test_the_margin_takes_the_place_of_the_minimum_effect() -> None:
    made = design(metric={"margin": 0.1, "direction": "lower"}, guardrails=[])
    text = svg(told(made), made)
    assert "<!-- margin -->" in text and "less is better" in text


def test_too_few_units_are_said_to_be_too_few() -> None:
    made = design(guardrails=[])
    assert "<!-- too few units so far -->" in svg(told(made, units=20), made)
    assert "<!-- too few units so far -->" in svg(told(made, units=0), made)


def test_shadows_alone_have_no_picture() -> None:
    made = design(arms=[ARMS[0], {**ARMS[1], "shadow": 0.5}])
    with pytest.raises(ExportFailed, match="nothing to draw"):
        svg(Report("e", 1.0, False, ()), made)


def test_without_matplotlib_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    made = design(guardrails=[])
    with pytest.raises(ExportFailed, match=r"pip install 'turnout\[plots\]'"):
        svg(told(made), made)


@pytest.fixture
def place(tmp_path: Path) -> Desk:
    made = Desk(tmp_path)
    made.run("create", "e1", "--domain", "legal", *GIVEN)
    return made


def test_show_draws_beside_its_report(place: Desk) -> None:
    picture = place.folder / "e1.PNG"
    shown = place.run("show", "e1", "--plot", str(picture))
    assert "sample ratio ok (p = 1); 0 units seen in several arms; no past known" in shown
    assert picture.read_bytes().startswith(PNG)
    report = place.json("show", "e1", "--plot", str(picture.with_suffix(".svg")))["report"]
    assert [verdict["arm"] for verdict in report["verdicts"]] == ["new"]
    assert ElementTree.parse(picture.with_suffix(".svg"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--plot", "e1.gif"), "does not end in .svg or .png"),
        (("--plot", "e1.svg", "--quick"), "--quick leaves out the analysis"),
    ],
)
def test_show_refuses_what_it_cannot_draw(
    place: Desk, options: tuple[str, ...], reason: str
) -> None:
    done = CliRunner().invoke(experiments, ("show", "e1", *options), obj=place)
    assert done.exit_code == 2 and reason in done.output


def test_a_file_that_cannot_be_written_is_named(place: Desk) -> None:
    with pytest.raises(ExportFailed, match="nowhere/e1.svg could not be written"):
        place.run("show", "e1", "--plot", str(place.folder / "nowhere" / "e1.svg"))
