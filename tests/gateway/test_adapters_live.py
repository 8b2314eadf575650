"""Adapters while the gateway runs: promoted, rolled back, split, refused, and lost by the
engine."""

from collections import Counter

from tests.gateway.harness import Running, assert_error
from tests.serving import wait_for

TEXT = "Which gasket fits the group head?"


def answering(gateway: Running) -> str:
    return str(gateway.chat(TEXT, model="espresso").json()["model"])


def test_without_an_adapter_the_base_answers(gateway: Running) -> None:
    assert answering(gateway) == "tiny"


def test_promotion_and_rollback_change_who_answers(gateway: Running) -> None:
    first, second = gateway.champion("espresso", 1), gateway.champion("espresso", 2)
    wait_for(lambda: answering(gateway) == second, "the second version to answer")
    moved = gateway.admin("POST", "/adapters/espresso/rollback", json={"reason": "worse"})
    assert moved.json() == {"champion": first}
    wait_for(lambda: answering(gateway) == first, "the first version to answer again")
    gateway.admin("POST", "/adapters/espresso/rollback", json={})
    wait_for(lambda: answering(gateway) == "tiny", "the base to answer")


def test_a_corrupt_version_never_serves_and_says_why(gateway: Running) -> None:
    version = gateway.adapter("espresso")
    folder = gateway.registry.version(version).folder
    (folder / "adapter_model.safetensors").write_bytes(b"junk")
    gateway.registry.promote(version, actor="test")
    failed = f'turnout_adapter_replicas{{state="failed",version="{version}"}} 1.0'
    wait_for(lambda: failed in gateway.metrics(), "the version to fail")
    response = gateway.chat(TEXT, model="espresso")
    assert response.json()["model"] == "tiny"
    assert response.headers["x-turnout-reason"].startswith(
        "explicit_domain; fallback: espresso--v1"
    )
    assert version not in gateway.engine.adapters
    (row,) = gateway.admin("GET", "/adapters").json()
    assert "digest differs" in row["replicas"][0]["problem"]


def test_a_version_for_another_base_never_serves(gateway: Running) -> None:
    version = gateway.adapter("espresso")
    gateway.registry.promote(version, actor="test")
    gateway.wait_served(version)
    # The same version, on an engine that came back with another base model.
    (gateway.settings.state.parent / "base" / "config.json").write_text('{"model_type": "other"}')
    gateway.engine.adapters.clear()
    wait_for(lambda: 'state="failed"' in gateway.metrics(), "the version to be refused")
    assert answering(gateway) == "tiny"


def test_an_engine_that_lost_its_adapters_gets_them_back(gateway: Running) -> None:
    version = gateway.champion("espresso")
    gateway.engine.adapters.clear()
    assert gateway.chat(TEXT, model="espresso").status_code == 200
    wait_for(lambda: version in gateway.engine.adapters, "the adapter to be loaded again")
    wait_for(lambda: answering(gateway) == version, "the adapter to answer again")


def test_an_experiment_splits_by_unit_and_is_recorded(gateway: Running) -> None:
    version = gateway.champion("espresso")
    arms = [
        {"name": "control", "model": "base", "weight": 1},
        {"name": "v1", "model": version, "weight": 3},
    ]
    made = gateway.admin(
        "POST", "/experiments", json={"name": "first", "domain": "espresso", "arms": arms}
    )
    assert made.status_code == 201
    seen: Counter[str] = Counter()
    for user in range(40):
        answers = [gateway.chat(TEXT, model="espresso", user=f"user{user}") for _ in range(2)]
        arm = answers[0].headers["x-turnout-arm"]
        assert answers[1].headers["x-turnout-arm"] == arm, "a unit stays in its arm"
        assert answers[0].json()["model"] == {"control": "tiny", "v1": version}[arm]
        seen[arm] += 1
    assert 20 <= seen["v1"] <= 38
    rows = [row for row in gateway.stored(80) if row["experiment"] == "first"]
    assert {(row["arm"], row["arm_propensity"]) for row in rows} == {
        ("control", 0.25),
        ("v1", 0.75),
    }
    pinned = gateway.chat(TEXT, model=version)
    assert "x-turnout-experiment" not in pinned.headers
    gateway.admin("POST", "/experiments/first/stop")
    assert "x-turnout-arm" not in gateway.chat(TEXT, model="espresso").headers


def test_experiments_that_make_no_sense_are_refused(gateway: Running) -> None:
    version = gateway.adapter("espresso")
    base = {"name": "control", "model": "base", "weight": 1}
    for name, domain, other in (
        ("e", "espresso", {"name": "x", "model": "espresso--v9-00000000", "weight": 1}),
        ("e", "library", {"name": "x", "model": version, "weight": 1}),
        ("e", "espresso", {"name": "control", "model": version, "weight": 1}),
        ("bad name", "espresso", {"name": "x", "model": version, "weight": 1}),
    ):
        body = {"name": name, "domain": domain, "arms": [base, other]}
        assert_error(gateway.admin("POST", "/experiments", json=body), 422, "invalid_experiment")


def test_only_admins_reach_the_admin_listener(gateway: Running) -> None:
    made = gateway.admin("POST", "/keys", json={"name": "app"}).json()
    user = {"Authorization": f"Bearer {made['secret']}"}
    assert gateway.http.get("/v1/models", headers=user).status_code == 200
    assert_error(gateway.admin("GET", "/adapters", headers=user), 403)
    assert_error(gateway.http.get("/admin/v1/adapters"), 404)
    for url in (gateway.url, gateway.admin_url):
        for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter"):
            assert_error(gateway.http.post(url + path, json={"lora_name": "x"}), 404)
    assert gateway.admin("DELETE", f"/keys/{made['id']}").status_code == 204
    assert_error(gateway.http.get("/v1/models", headers=user), 401, "invalid_api_key")
