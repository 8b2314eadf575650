"""A version's model card: its manifest's facts as Markdown, in the order of Hugging Face's cards.

Whatever the facts hold, words of users among it, stays text: it opens no heading, cell or link.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from adapters.manifest import TrainingFacts

_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#|~&!])")
_LONGEST = 300

_LIMITS = """\
- Meant for the questions of its domain behind Turnout's router; on others the base model answers.
- The results hold for the held-out rows above, and say nothing of questions that are unlike them.
- An interval that includes 0 is no proof of no difference. Capabilities that are not listed were
  not looked at.
- It has what its base model has of wrong and biased answers, and what the examples add."""


def model_card(domain: str, facts: TrainingFacts) -> str:
    """The card, front matter included."""
    front = {
        "base_model": facts.base_model,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "turnout"],
    }
    lines = [
        "---",
        *(f"{name}: {json.dumps(value)}" for name, value in front.items()),  # JSON is YAML
        "---",
        "",
        f"# {_plain(domain)}: a LoRA adapter for {_plain(facts.base_model)}",
        "",
        f"**The gate says {facts.verdict}**: {_plain(facts.verdict_reason, 2000) or 'not judged'}.",
        *_section("Model details", _table(["what", "value"], _details(facts))),
        *_section("Training data", _data(facts.data)),
        *_section("Training procedure", _table(["setting", "value"], facts.settings.items())),
        *_section("Evaluation", _results(facts)),
        *_section("Forgetting", _forgetting(facts)),
        *_section("Limits", _limits(facts)),
        *_section("Environment", _table(["what", "value"], facts.environment.items())),
    ]
    return "\n".join([*lines, ""])


def not_as_served(gate: Mapping[str, Any]) -> str | None:
    """What a trial's conditions leave open when it asked without the passages that a gateway puts
    before the domain's questions; None when it asked as a gateway does."""
    if gate.get("index") is None or gate.get("grounded"):
        return None
    return (
        f"Asked without passages, although a gateway takes some from index {gate['index']}: with "
        "them it may answer worse. turnout advise measures by how much; training.grounded_share "
        "teaches it to use them, top_k = 0 in the pack ends them."
    )


def _details(facts: TrainingFacts) -> list[tuple[str, object]]:
    return [
        ("base model", facts.base_model),
        ("base revision", facts.base_revision or "not known"),
        ("base configuration, SHA-256", facts.base_config_hash),
        ("chat template, SHA-256", facts.chat_template_hash),
        ("method", facts.method),
        ("rank", f"{facts.rank}, {'rsLoRA' if facts.rslora else 'LoRA'}"),
        ("modules", ", ".join(facts.target_modules)),
        ("champion before it", facts.parent_version or "none"),
        ("code", f"turnout {facts.code_version or 'not known'}"),
    ]


def _data(data: Mapping[str, Any]) -> list[str]:
    if not data:
        return ["Not known: it was trained elsewhere."]
    shown: list[tuple[str, object]] = [
        *((f"{part} rows", n) for part, n in data.get("rows", {}).items()),
        *((f"from: {source}", n) for source, n in data.get("sources", {}).items()),
        *((f"left out: {why}", some.get("n")) for why, some in data.get("removed", {}).items()),
        ("users", data.get("units")),
        ("window", " to ".join(data.get("window") or ()) or "not dated"),
        ("kept apart by", data.get("grouped_by")),
        ("passages of index", data.get("index") or "none"),
        ("digest", data.get("digest")),
        *((f"digest, {part}", one) for part, one in data.get("digests", {}).items()),
    ]
    return _table(["what", "value"], shown)


def _results(facts: TrainingFacts) -> list[str]:
    rows = [
        (
            one.task,
            one.metric,
            one.n,
            one.rival,
            f"{one.rival_score:.3f}",
            f"{one.score:.3f}",
            _difference(one.score - one.rival_score, one.ci95),
            f"{one.p_better:.2g}",
            f"{one.p_worse:.2g}",
        )
        for one in facts.comparisons
    ]
    heads = ["task", "metric", "rows", "rival", "its score", "score", "difference, 95 %"]
    return [
        *_table([*heads, "p better", "p worse"], rows),
        "",
        *(f"- {_plain(name)}: {_plain(value)}" for name, value in facts.gate.items()),
    ]


def _limits(facts: TrainingFacts) -> list[str]:
    served = not_as_served(facts.gate)
    return [_LIMITS] if served is None else [_LIMITS, f"- {_plain(served)}"]


def _forgetting(facts: TrainingFacts) -> list[str]:
    rows = [
        (
            one.name,
            one.metric,
            one.n,
            f"{one.base_score:.3f}",
            f"{one.score:.3f}",
            _difference(one.score - one.base_score, one.ci95),
            one.retention,
        )
        for one in facts.capabilities
    ]
    heads = ["capability", "metric", "rows", "base model", "score", "difference, 95 %", "it is"]
    return _table(heads, rows)


def _difference(value: float, ci95: tuple[float, float]) -> str:
    return f"{value:+.3f} [{ci95[0]:+.3f}, {ci95[1]:+.3f}]"


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return ["", f"## {title}", "", *lines]


def _table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    cells = [[_plain(cell) for cell in row] for row in rows]
    if not cells:
        return ["None."]
    heads = list(heads)
    return ["| " + " | ".join(line) + " |" for line in (heads, ["---"] * len(heads), *cells)]


def _plain(value: object, longest: int = _LONGEST) -> str:
    """On one line, without control characters, and with Markdown's signs escaped."""
    text = "".join(sign if sign.isprintable() else " " for sign in str(value))
    text = " ".join(text.split())
    text = text if len(text) <= longest else text[: longest - 1] + "…"
    return _MARKUP.sub(r"\\\1", text)
