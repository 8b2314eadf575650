"""The log as routing sees it: which answers, by which names, with which rewards and costs."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from adapters.interactions import Feedback, Interaction, Outcome, unit_digest
from adapters.store import Store
from gateway.workspace import Workspace
from router.logged import Logged
from tests.adapters.test_store import interaction, records

CONFIGURATION = """
[[engines]]
name = "one"
urls = ["http://127.0.0.1:9"]
model = "base"
[[targets]]
name = "cheap"
engine = "one"
price = { input = 0.5, output = 2.0 }
[[packs]]
path = "PACK"
engine = "one"
"""
PACK = Path(__file__).parents[2] / "examples" / "espresso"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    config = tmp_path / "turnout.toml"
    config.write_text(CONFIGURATION.replace("PACK", str(PACK)))
    made = Workspace()
    made.place("config", config)
    made.place("state", tmp_path / "state")
    return made


def keep(workspace: Workspace, *said: Interaction | Feedback) -> None:
    store = Store(workspace.store_url)
    store.take(records(*said))
    store.close()


def routed(receipt: str, **changes: object) -> Interaction:
    return interaction(receipt, **{"target": "espresso", **changes})


WHOLE = Logged(
    turns=("hello",),
    target="espresso",
    propensity=1.0,
    probability=0.9,
    reason="classifier",
    router_version="v1",
    created=1.0,
    unit="u1",
    session=None,
    ok=True,
    rewards={},
    demonstrated=False,
    cost=3.5e-6,  # of 3 tokens in and 1 out
    total_ms=20.0,
    train=True,
)


def test_an_answer_with_what_was_said_of_it(workspace: Workspace) -> None:
    keep(
        workspace,
        routed("a"),
        Feedback("f1", "a", 2.0, "thumb", True),
        Feedback("f2", "a", 3.0, "thumb", "down"),
        Feedback("f3", "a", 4.0, "stars", 4),
        Feedback("f4", "a", 5.0, "topic", "coffee", demonstration="Better."),
    )
    rewards = {"thumb": 0.0, "stars": 4.0}
    assert list(workspace.logged()) == [replace(WHOLE, rewards=rewards, demonstrated=True)]


def test_a_tier_is_general_and_what_stood_in_is_not_ok(workspace: Workspace) -> None:
    keep(
        workspace,
        routed("a", target="cheap", train=False),
        routed("b", created=2.0, outcome=Outcome.ERROR),
        routed("c", created=3.0, reason="classifier; base answered"),
        routed("d", created=4.0, target="gone"),
    )
    assert list(workspace.logged()) == [
        replace(WHOLE, target="general", train=False),
        replace(WHOLE, created=2.0, ok=False),
        replace(WHOLE, created=3.0, ok=False),
        replace(WHOLE, created=4.0, target="gone", cost=None),
    ]


def test_what_nobody_saw_is_left_out_and_times_bound(workspace: Workspace) -> None:
    seen = [routed(str(number), created=float(number)) for number in range(5)]
    keep(workspace, *seen, routed("shadow", created=2.0, shadow_of="2"))
    assert [one.created for one in workspace.logged()] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert [one.created for one in workspace.logged(since=1.0, until=3.0)] == [1.0, 2.0]


def test_a_user_is_one_unit_in_all_sessions(workspace: Workspace) -> None:
    named = {"messages": [], "user": "ann"}
    keep(
        workspace,
        routed("a", unit="s1", session="s1", request=named),
        routed("b", unit="s2", session="s2", request=named, created=2.0),
        routed("c", unit="s3", session="s3", created=3.0),
    )
    ann = unit_digest("ann")
    assert [one.unit for one in workspace.logged()] == [ann, ann, "s3"]


@pytest.mark.parametrize(
    ("request_", "text"),
    [
        ({"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]}, "y"),
        ({"prompt": "plain"}, "plain"),
        ({"prompt": ["first", "second"]}, "first"),
        ({"prompt": [1, 2]}, ""),
        ({}, ""),
    ],
)
def test_the_text_is_what_the_router_judged(
    workspace: Workspace, request_: dict[str, object], text: str
) -> None:
    keep(workspace, routed("a", request=request_))
    assert [one.text for one in workspace.logged()] == [text]
