"""The review queue over HTTP, for admin keys."""

from adapters.review.book import ReviewBook
from adapters.review.item import Example, ItemKind
from adapters.review.proposal import NewItem
from tests.gateway.harness import Running, assert_error


def queued(gateway: Running, number: int, wanted: int = 1) -> str:
    """An item to label; its id."""
    example = Example((("user", f"question {number}"),), "leak", labels=("cold", "leak"))
    new = NewItem("espresso", ItemKind.SYNTHETIC, example, {"model": "m"}, wanted=wanted)
    ReviewBook(gateway.store).add([new])
    return new.id


def test_items_are_listed_shown_and_decided(gateway: Running) -> None:
    first, second, third = (queued(gateway, n) for n in range(3))
    page = gateway.admin("GET", "/review", params={"domain": "espresso", "limit": 2}).json()
    assert [item["id"] for item in page["data"]] == [first, second] and page["has_more"]
    rest = gateway.admin("GET", "/review", params={"after": second}).json()
    assert [item["id"] for item in rest["data"]] == [third] and not rest["has_more"]
    turn = gateway.admin("GET", "/review/next", params={"domain": "espresso", "annotator": "ada"})
    assert turn.json() == {
        "id": first,
        "domain": "espresso",
        "kind": "synthetic",
        "state": "open",
        "example": {
            "prompt": [["user", "question 0"]],
            "answer": "leak",
            "rival": None,
            "task": "default",
            "labels": ["cold", "leak"],
            "passages": [],
        },
        "said": None,
    }
    said = {"annotator": "ada", "verdict": "correct", "answer": "cold", "comment": "brr"}
    done = gateway.admin("POST", f"/review/{first}/decisions", json=said).json()
    assert (done["state"], done["said"]["answer"]) == ("corrected", "cold")
    shown = gateway.admin("GET", f"/review/{first}").json()
    assert (shown["resolved"], shown["annotations"][0]["comment"]) == ("cold", "brr")
    found = gateway.admin("GET", "/review", params={"state": ["corrected", "rejected"]}).json()
    assert [item["id"] for item in found["data"]] == [first]
    assert gateway.admin("GET", "/review/stats").json() == {
        "items": {"espresso": {"synthetic": {"corrected": 1, "open": 2}}},
        "annotators": {"ada": 1},
    }
    again = gateway.admin("DELETE", f"/review/{first}/decisions/ada").json()
    assert (again["state"], again["said"]) == ("open", None)


def test_a_comparison_does_not_tell_whose_answers_it_shows(gateway: Running) -> None:
    example = Example((("user", "which?"),), "one", "two")
    origin = {"models": ["secret-a", "secret-b"]}
    new = NewItem("espresso", ItemKind.HUMAN_EVAL, example, origin, batch="c")
    ReviewBook(gateway.store).add([new])
    said = {"annotator": "ada", "verdict": "first"}
    answers = [
        gateway.admin("GET", "/review"),
        gateway.admin("GET", f"/review/{new.id}"),
        gateway.admin("GET", "/review/next", params={"annotator": "ada", "batch": "c"}),
        gateway.admin("POST", f"/review/{new.id}/decisions", json=said),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert not any("secret" in answer.text for answer in answers)


def test_what_makes_no_sense_is_refused(gateway: Running) -> None:
    name = queued(gateway, 0)
    path = f"/review/{name}/decisions"
    good = {"annotator": "ada", "verdict": "accept"}
    for body in (
        {**good, "verdict": "first"},
        {**good, "verdict": "maybe"},
        {**good, "verdict": "correct", "answer": "hot"},
        {**good, "annotator": "a\nb"},
        {**good, "comment": "x" * 2001},
        {**good, "more": 1},
    ):
        refused = gateway.admin("POST", path, json=body)
        assert_error(refused, 400)
    assert_error(gateway.admin("POST", "/review/rev-1/decisions", json=good), 404)
    assert_error(gateway.admin("GET", "/review/%00"), 404)
    assert_error(gateway.admin("GET", "/review", params={"limit": 101}), 400)
    assert_error(gateway.admin("GET", "/review", headers={"Authorization": "Bearer x"}), 401)
    assert gateway.admin("GET", f"/review/{name}").json()["annotations"] == []
