"""`turnout experiments`: the simple form, the file, and what options make of it."""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from adapters.cli.books import open_book
from adapters.cli.experiments import experiments
from adapters.errors import InvalidExperiment, RefusedMove
from adapters.experiments.shelf import Shelf
from adapters.experiments.watch import Watch
from adapters.store import Store
from tests.adapters.places import Place

ARMS = ("--arm", "control=base:1", "--arm", "new=base:3")
FILE = """
name = "e2"
domain = "legal"
owner = "ann"
[[arms]]
name = "control"
model = "base"
[[arms]]
name = "brief"
model = "base"
prompt = "Three words."
[metric]
name = "stars"
kind = "mean"
"""


class Desk(Place):
    """A place where experiments are run, with tiers and a router."""

    def shelf(self) -> Shelf:
        return Shelf(tiers=("small", "large"), routers=("v1-0a1b2c3d",))

    def run(self, *arguments: str) -> str:
        done = CliRunner().invoke(experiments, arguments, obj=self, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "--json"))


@pytest.fixture
def place(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_name_a_domain_and_two_arms_are_enough(place: Desk) -> None:
    made = place.json("create", "e1", "--domain", "legal", *ARMS)
    assert (made["name"], made["state"], made["percent"]) == ("e1", "running", None)
    assert made["weights"] == {"control": 1, "new": 3}
    shown = place.json("show", "e1")
    assert shown["answers"] == {} and [move["kind"] for move in shown["moves"]] == ["create"]
    assert "75 %" in place.run("show", "e1") and "e1" in place.run("list")
    place.run("move", "e1", "--weight", "control=1", "--weight", "new=1", "--reason", "evenly")
    for verb, state in (("freeze", "frozen"), ("thaw", "running"), ("stop", "stopped")):
        place.run(verb, "e1", "--reason", "because")
        assert place.json("show", "e1")["state"] == state
    moves = place.json("show", "e1")["moves"]
    assert [move["reason"] for move in moves] == ["", "evenly", *["because"] * 3]
    (listed,) = place.json("list")
    assert listed["stopped"]


def test_options_override_the_file(place: Desk) -> None:
    file = place.folder / "e.toml"
    file.write_text(FILE)
    with pytest.raises(InvalidExperiment, match="metric: a mean needs minimum_effect"):
        place.run("create", "--file", str(file))
    options = ("--margin", "0.2", "--stages", "5,50", "--holdout", "0.1", "--unit", "user")
    made = place.json("create", "e3", "--file", str(file), *options)
    assert (made["name"], made["owner"], made["unit"]) == ("e3", "ann", "user")
    assert (made["stages"], made["percent"], made["holdout"]) == ([5, 50], 5, 0.1)
    assert (made["metric"]["name"], made["metric"]["margin"]) == ("stars", 0.2)
    assert made["arms"][1]["prompt"] == "Three words."
    assert "50 %" in place.run("move", "e3", "--stage", "50")
    with pytest.raises(RefusedMove, match="stages"):
        place.run("move", "e3", "--stage", "51")


def test_tiers_are_arms_and_routers_come_by_file(place: Desk) -> None:
    tiers = ("--arm", "control=small:1", "--arm", "new=large:1")
    assert "control=small 50 %, new=large 50 %" in place.run(
        "create", "e1", "--domain", "small", *tiers
    )
    with pytest.raises(InvalidExperiment, match="'small' is neither `base` nor a version of legal"):
        place.run("create", "e2", "--domain", "legal", *tiers)
    file = place.folder / "e.json"
    routers = [{"name": name, "router": "v1-0a1b2c3d"} for name in ("control", "new")]
    file.write_text(json.dumps({"name": "e3", "domain": "auto", "arms": routers}))
    with pytest.raises(InvalidExperiment, match="'e1' runs on small in layer 'small'"):
        place.run("create", "--file", str(file))
    place.run("stop", "e1")
    assert "new=router v1-0a1b2c3d 50 %" in place.run("create", "--file", str(file))


def test_a_look_by_hand_measures_by_the_packs_checks(place: Desk) -> None:
    pack = place.folder / "packs" / "legal"
    pack.mkdir(parents=True)
    checks = '[[checks]]\nname = "brief"\nkind = "length"\nmost_words = 3\n'
    (pack / "pack.toml").write_text(f'name = "legal"\ntitle = "Law"\n{checks}')
    (pack / "queries.jsonl").write_text("")
    place.run("create", "e", "--domain", "legal", *ARMS, "--metric", "check:brief")
    assert json.loads(place.run("watch", "--once", "--json"))["act"] == "hold"
    with closing(Watch(Store(place.store_url), open_book(place), holder="a gateway")) as other:
        other.round()
        assert place.run("watch", "--once").startswith("no look: no experiment runs, or a gateway")
    place.run("freeze", "e", "--reason", "a holiday")
    place.run("thaw", "e")
    assert [move["kind"] for move in place.json("show", "e")["moves"]] == [
        "create",
        "freeze",
        "thaw",
    ]
