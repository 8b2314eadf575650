"""Arms that are more than adapter versions: index versions, general tiers, router versions."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.fakes.vllm import FakeVllm
from tests.gateway.conftest import turnout
from tests.gateway.harness import Running, assert_error, running
from tests.serving import serving, wait_for

ESPRESSO = "The steam wand drips, what should I do?"
POEM = "Write a short poem about autumn leaves"
ARM, ROUTE = "x-turnout-arm", "x-turnout-route"
HALF = {"name": "l", "share": 0.5}


def begin(gateway: Running, domain: str, *arms: dict[str, Any], **changes: Any) -> httpx2.Response:
    """Start an experiment between these arms, the first one named control, the next one new."""
    named = [{"name": name, **arm} for name, arm in zip(("control", "new"), arms, strict=True)]
    body = {"name": "e", "domain": domain, "arms": named, **changes}
    return gateway.admin("POST", "/experiments", json=body)


def ask(gateway: Running, text: str, session: str, model: str = "auto") -> httpx2.Response:
    answer = gateway.chat(text, model=model, turnout={"session": session})
    assert answer.status_code == 200, answer.text
    return answer


def both_arms(gateway: Running, text: str, model: str = "auto") -> dict[str, httpx2.Response]:
    """An answer of each arm."""
    answers = [ask(gateway, text, f"s{number}", model) for number in range(12)]
    found = {answer.headers[ARM]: answer for answer in answers}
    assert found.keys() == {"control", "new"}
    return found


def rows_by_arm(gateway: Running, count: int, *columns: str) -> dict[str, set[tuple[Any, ...]]]:
    """What the store has in these columns, once it has so many answers."""
    found: dict[str, set[tuple[Any, ...]]] = {}
    for row in gateway.stored(count):
        found.setdefault(row["arm"], set()).add(tuple(row[column] for column in columns))
    return found


class TestIndexes:
    @pytest.fixture
    def versions(self, gateway: Running, tmp_path: Path) -> tuple[str, str]:
        """Two index versions of espresso; the current one says something else."""
        notes = tmp_path / "documents.jsonl"
        text = f"{ESPRESSO} Call Ada, she knows."
        notes.write_text(json.dumps({"id": "ada", "title": "Steam wand", "text": text}))
        state = gateway.settings.state
        said = turnout("docs", "ingest", str(notes), "--domain", "espresso", "--json", state=state)
        current = json.loads(said)["version"]
        folder = gateway.settings.artifact_root / "indexes" / "espresso"
        (old,) = (path.name for path in folder.glob("v1-*"))
        body = {"model": "espresso", "messages": [{"role": "user", "content": ESPRESSO}]}

        def served() -> Any:
            return gateway.http.post("/v1/route", json=body).json()["index_version"]

        wait_for(lambda: served() == current, "the new index to be served")
        return old, current

    def start(self, gateway: Running, versions: tuple[str, str]) -> None:
        arms = ({"model": "base", "index": version} for version in versions)
        assert begin(gateway, "espresso", *arms).status_code == 201

    def test_each_arm_has_its_passages(self, gateway: Running, versions: tuple[str, str]) -> None:
        self.start(gateway, versions)
        answers = both_arms(gateway, ESPRESSO)
        assert answers["new"].headers["x-turnout-sources"] == "ada#0"
        assert "Ada" in answers["new"].json()["turnout"]["sources"][0]["text"]
        assert "ada" not in answers["control"].headers["x-turnout-sources"]
        rows = rows_by_arm(gateway, 12, "index_version", "exposed")
        assert rows == {"control": {(versions[0], True)}, "new": {(versions[1], True)}}

    def test_the_callers_own_index_wins(self, gateway: Running, versions: tuple[str, str]) -> None:
        self.start(gateway, versions)
        seen = set()
        for number in range(12):
            extras = {"session": f"s{number}", "retrieval": {"index": versions[0]}}
            answer = gateway.chat(ESPRESSO, turnout=extras)
            seen.add((answer.headers[ARM], answer.headers["x-turnout-sources"].startswith("ada")))
        assert seen == {("control", False), ("new", False)}
        rows = rows_by_arm(gateway, 12, "index_version", "exposed")
        assert rows == {"control": {(versions[0], True)}, "new": {(versions[0], False)}}

    def test_without_retrieval_arms_differ_in_nothing(
        self, gateway: Running, versions: tuple[str, str]
    ) -> None:
        self.start(gateway, versions)
        for number in range(12):
            gateway.chat(ESPRESSO, turnout={"session": f"s{number}", "retrieval": False})
        rows = rows_by_arm(gateway, 12, "index_version", "exposed")
        assert rows == {"control": {(None, True)}, "new": {(None, True)}}

    def test_an_index_that_is_gone_is_replaced_and_no_exposure(
        self, gateway: Running, versions: tuple[str, str]
    ) -> None:
        self.start(gateway, versions)
        old, current = versions
        shutil.rmtree(gateway.settings.artifact_root / "indexes" / "espresso" / old)
        both_arms(gateway, ESPRESSO)
        rows = rows_by_arm(gateway, 12, "index_version", "exposed")
        assert rows == {"control": {(current, False)}, "new": {(current, True)}}

    def test_the_command_knows_the_indexes(
        self, gateway: Running, versions: tuple[str, str], tmp_path: Path
    ) -> None:
        arms = [{"name": f"arm{n}", "model": "base", "index": v} for n, v in enumerate(versions)]
        file = tmp_path / "e.json"
        file.write_text(json.dumps({"name": "e", "domain": "espresso", "arms": arms}))
        said = turnout("experiments", "create", "--file", str(file), state=gateway.settings.state)
        assert said == (
            f"e splits espresso: arm0=base + index {versions[0]} 50 %, "
            f"arm1=base + index {versions[1]} 50 %\n"
        )
        wait_for(lambda: ARM in ask(gateway, ESPRESSO, "s1").headers, "the gateway to take it up")


class TestTiers:
    @pytest.fixture
    def big(self) -> FakeVllm:
        return FakeVllm(base="big")

    @pytest.fixture
    def gateway(
        self,
        tmp_path: Path,
        artifacts: Path,
        encoder_folder: Path,
        engine: FakeVllm,
        big: FakeVllm,
    ) -> Iterator[Running]:
        with (
            serving(big.app) as url,
            running(tmp_path, artifacts, encoder_folder, engine, tiers={"big": url}) as ready,
        ):
            yield ready

    def test_the_arms_tier_answers(self, gateway: Running, big: FakeVllm) -> None:
        arms = {"model": "general"}, {"model": "big", "prompt": "Rhyme."}
        assert begin(gateway, "general", *arms).status_code == 201
        routed, named = both_arms(gateway, POEM), both_arms(gateway, POEM, model="general")
        for answers in (routed, named):
            models = {arm: answer.json()["model"] for arm, answer in answers.items()}
            assert models == {"control": "tiny", "new": "big"}
            assert {answer.headers[ROUTE] for answer in answers.values()} == {"general"}
        assert big.seen[-1]["messages"][0] == {"role": "system", "content": "Rhyme."}
        assert "system" not in {m["role"] for seen in gateway.engine.seen for m in seen["messages"]}
        for model, text in (("big", POEM), ("espresso", ESPRESSO)):
            assert ARM not in ask(gateway, text, "s1", model).headers
        rows = rows_by_arm(gateway, 26, "experiment", "target", "model", "exposed")
        assert rows["control"] == {("e", "general", "tiny", True)}
        assert rows["new"] == {("e", "general", "big", True)}
        assert {experiment for experiment, *_ in rows[None]} == {None}
        assert 'turnout_assignments_total{arm="new",experiment="e"}' in gateway.metrics()

    def test_the_decided_tier_stands_in_and_that_is_no_exposure(
        self, gateway: Running, big: FakeVllm
    ) -> None:
        assert begin(gateway, "general", {"model": "general"}, {"model": "big"}).status_code == 201
        big.broken = True
        answers = both_arms(gateway, POEM)
        assert {answer.json()["model"] for answer in answers.values()} == {"tiny"}
        assert "big is not available" in answers["new"].headers["x-turnout-reason"]
        rows = rows_by_arm(gateway, 12, "model", "exposed")
        assert rows == {"control": {("tiny", True)}, "new": {("tiny", False)}}


class TestRouters:
    @pytest.fixture
    def versions(self, gateway: Running) -> tuple[str, str]:
        """The current router, and one that is never sure enough for a domain."""
        root = gateway.settings.artifact_root / "router"
        (current,) = (path.name for path in root.glob("v1-*"))
        shutil.copytree(root / current, root / "v2-00000000")
        manifest = json.loads((root / current / "manifest.json").read_text())
        changed = {**manifest, "version": "v2-00000000", "threshold": 1.01}
        (root / "v2-00000000" / "manifest.json").write_text(json.dumps(changed))
        return current, "v2-00000000"

    def start(self, gateway: Running, versions: tuple[str, str], **changes: Any) -> None:
        made = begin(gateway, "auto", *({"router": version} for version in versions), **changes)
        assert made.status_code == 201, made.text

    def test_the_arms_router_decides(self, gateway: Running, versions: tuple[str, str]) -> None:
        self.start(gateway, versions)
        answers = both_arms(gateway, ESPRESSO)
        routes = {arm: answer.headers[ROUTE] for arm, answer in answers.items()}
        assert routes == {"control": "espresso", "new": "general"}
        assert answers["new"].headers["x-turnout-reason"] == "below_threshold"
        rows = rows_by_arm(gateway, 12, "router_version", "target", "exposed")
        assert rows["control"] == {(versions[0], "espresso", True)}
        assert rows["new"] == {(versions[1], "general", True)}
        assert 'turnout_assignments_total{arm="new",experiment="e"}' in gateway.metrics()

    def test_the_dry_run_says_the_same(self, gateway: Running, versions: tuple[str, str]) -> None:
        self.start(gateway, versions)
        seen = set()
        for number in range(12):
            session = f"s{number}"
            body = {"messages": [{"role": "user", "content": ESPRESSO}], "model": "auto"}
            body["turnout"] = {"session": session}
            told = gateway.http.post("/v1/route", json=body).json()
            answered = ask(gateway, ESPRESSO, session).headers
            assert (told["arm"], told["target"]) == (answered[ARM], answered[ROUTE])
            names = ("experiment", "arm", "router_version", "arm_propensity")
            seen.add(tuple(told[name] for name in names))
        assert seen == {("e", "control", versions[0], 0.5), ("e", "new", versions[1], 0.5)}

    def test_who_names_a_target_is_not_routed(
        self, gateway: Running, versions: tuple[str, str]
    ) -> None:
        self.start(gateway, versions)
        assert ARM not in ask(gateway, ESPRESSO, "s1", "espresso").headers
        named = gateway.chat(ESPRESSO, turnout={"session": "s1", "domain": "espresso"})
        assert ARM not in named.headers and named.headers[ROUTE] == "espresso"

    def test_a_router_that_is_gone_is_replaced_and_no_exposure(
        self, gateway: Running, versions: tuple[str, str]
    ) -> None:
        self.start(gateway, versions)
        shutil.rmtree(gateway.settings.artifact_root / "router" / versions[1])
        frozen = gateway.admin("POST", "/experiments/e/move", json={"kind": "freeze"})
        assert frozen.status_code == 200, "the catalog is built again"
        both_arms(gateway, ESPRESSO)
        rows = rows_by_arm(gateway, 12, "router_version", "target", "exposed")
        assert rows["control"] == {(versions[0], "espresso", True)}
        assert rows["new"] == {(versions[0], "espresso", False)}

    def test_a_unit_is_in_one_experiment_of_a_layer(
        self, gateway: Running, versions: tuple[str, str]
    ) -> None:
        self.start(gateway, versions, name="routers", layer=HALF, holdout=0.4)
        base = {"model": "base"}
        said = assert_error(begin(gateway, "espresso", base, base), 422)
        assert "'routers' runs on auto in layer 'l'" in said and "share of one layer" in said
        assert begin(gateway, "espresso", base, base, layer=HALF).status_code == 201
        for number in range(40):
            ask(gateway, ESPRESSO, f"s{number}")
            ask(gateway, ESPRESSO, f"s{number}", "espresso")
        parts: dict[str, set[str | None]] = {}
        standings = set()
        for row in gateway.stored(80):
            parts.setdefault(row["session"], set()).add(row["experiment"])
            standings.add((row["experiment"], row["standing"]))
        # Of the routers' units, those who name the domain are in no experiment.
        assert {frozenset(part) for part in parts.values()} == {
            frozenset({"routers", None}),
            frozenset({"e"}),
        }
        assert standings == {
            ("routers", "assigned"),
            ("routers", "holdout"),
            ("e", "assigned"),
            (None, ""),
        }


@pytest.mark.parametrize(
    ("domain", "arm", "said"),
    [
        ("espresso", {"model": "base", "index": "v9-00000000"}, "of espresso; there are v1-"),
        ("espresso", {"model": "big"}, "'big' is neither `base` nor a version of espresso"),
        ("general", {"model": "big"}, "'big' is no general tier; there are general"),
        ("auto", {"router": "v9-00000000"}, "'v9-00000000' is no fitted router; there are v1-"),
        ("auto", {"router": "../router"}, "arms.0.router: String should match"),
    ],
)
def test_what_there_is_not_is_refused_with_what_there_is(
    gateway: Running, domain: str, arm: dict[str, Any], said: str
) -> None:
    assert said in assert_error(begin(gateway, domain, arm, arm), 422)
