"""The alert rules speak of metrics and labels that the gateway shows, and of what docs list."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.metrics import Counter, Histogram, Total
from gateway.telemetry import Telemetry

ROOT = Path(__file__).parent.parent
RULES = ROOT / "deploy" / "prometheus" / "alerts.yml"


def shown() -> dict[str, set[str]]:
    """Labels by name of every series on `/metrics`."""
    found: dict[str, set[str]] = {}
    for metric in vars(Telemetry()).values():
        labels = set(getattr(metric, "labels", ()))
        match metric:
            case Histogram():
                names, labels = [f"{metric.name}_bucket"], labels | {"le"}
            case Counter() | Total():
                names = [f"{metric.name}_total"]
            case _ if hasattr(metric, "name"):
                names = [metric.name]
            case _:
                continue
        found |= dict.fromkeys(names, labels)
    return found


@pytest.fixture(scope="module")
def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    found: list[dict[str, Any]] = group["rules"]
    return found


def test_rules_ask_for_what_is_shown(rules: list[dict[str, Any]]) -> None:
    known = shown()
    assert "turnout_requests_total" in known and "turnout_engine_up" in known
    asked = 0
    for rule in rules:
        for name, selector in re.findall(r"(turnout_\w+)(\{[^}]*\})?", rule["expr"]):
            assert name in known, rule["alert"]
            wanted = set(re.findall(r"(\w+)[=!]", selector))
            assert wanted <= known[name], rule["alert"]
            asked += 1
        told = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert told <= {"instance"}.union(*known.values())
        assert rule["labels"]["severity"] in {"critical", "warning"}
    assert asked >= len(rules)


def test_every_rule_was_tried(rules: list[dict[str, Any]]) -> None:
    tried = yaml.safe_load(RULES.with_name("alerts_test.yml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tried
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    assert fired == {rule["alert"] for rule in rules}


def test_prometheus_reads_them() -> None:
    config = yaml.safe_load(RULES.with_name("prometheus.yml").read_text())
    assert config["rule_files"] == [RULES.name]
    assert {job["job_name"] for job in config["scrape_configs"]} == {"turnout", "engines"}
