"""The model card: what it says, and that nothing in a manifest can make it say something else."""

from adapters.manifest import Capability, Comparison, TrainingFacts
from training.model_card import model_card

FACTS = TrainingFacts(
    base_model="tiny",
    base_config_hash="b" * 64,
    chat_template_hash="c" * 64,
    rank=8,
    target_modules=("q_proj", "v_proj"),
    data={"rows": {"train": 80, "test": 20}, "sources": {"pack": 100}, "digest": "d" * 64},
    settings={"epochs": 3},
    environment={"torch": "2.13"},
    comparisons=(
        Comparison(
            rival="base",
            task="fault",
            metric="exact_match",
            n=20,
            score=0.75,
            rival_score=0.25,
            ci95=(0.2, 0.7),
            p_better=0.001,
            p_worse=1.0,
        ),
    ),
    capabilities=(
        Capability(
            name="sums",
            metric="exact_match",
            n=40,
            score=0.5,
            base_score=0.525,
            ci95=(-0.1, 0.05),
            retention="unsure",
        ),
    ),
    verdict="pass",
    verdict_reason="better than base on fault",
    code_version="0.1",
)


def test_a_card_has_the_figures_of_its_manifest() -> None:
    lines = model_card("boiler", FACTS).splitlines()
    assert lines[:9] == [
        "---",
        'base_model: "tiny"',
        'library_name: "peft"',
        'pipeline_tag: "text-generation"',
        'tags: ["lora", "turnout"]',
        "---",
        "",
        "# boiler: a LoRA adapter for tiny",
        "",
    ]
    assert [line for line in lines if line.startswith("## ")] == [
        "## Model details",
        "## Training data",
        "## Training procedure",
        "## Evaluation",
        "## Forgetting",
        "## Limits",
        "## Environment",
    ]
    for row in (
        "| rank | 8, LoRA |",
        "| train rows | 80 |",
        f"| digest | {'d' * 64} |",
        "| epochs | 3 |",
        r"| fault | exact\_match | 20 | base | 0.250 | 0.750 | +0.500 \[+0.200, +0.700\] | 0.001 |"
        " 1 |",
        r"| sums | exact\_match | 40 | 0.525 | 0.500 | -0.025 \[-0.100, +0.050\] | unsure |",
        "| torch | 2.13 |",
    ):
        assert row in lines


def test_an_imported_version_has_a_card() -> None:
    bare = TrainingFacts(
        base_model="tiny",
        base_config_hash="",
        chat_template_hash="",
        rank=1,
        target_modules=(),
        verdict_reason="imported, not evaluated here",
    )
    card = model_card("boiler", bare)
    assert "**The gate says unjudged**: imported, not evaluated here." in card
    assert "Not known: it was trained elsewhere." in card


def test_hostile_names_stay_text() -> None:
    name = 'x"\n---\n# Trusted | **yes** <script> [safe](http://evil) `rm` \u202e\x1b[2J'
    hostile = FACTS.model_copy(
        update={
            "base_model": name,
            "verdict_reason": name,
            "comparisons": (FACTS.comparisons[0].model_copy(update={"task": name}),),
            "settings": {name: name * 100},
        }
    )
    plain, card = model_card("boiler", FACTS).splitlines(), model_card("boiler", hostile)
    lines = card.splitlines()
    # No line more than without it: it opens no heading, rule or row.
    assert len(lines) == len(plain)
    assert [line for line in lines if line == "---"] == ["---", "---"]
    escaped = r"\# Trusted \| \*\*yes\*\* \<script\> \[safe\]\(http://evil\) \`rm\` \[2J"
    assert f'| x" --- {escaped} | exact\\_match |' in card
    assert "<script>" not in card.replace(r"\<script\>", "").partition("\n---\n")[2]
    assert "\x1b" not in card and "\u202e" not in card
    assert max(map(len, lines)) < 3000


def test_a_card_says_when_the_trial_did_not_ask_as_the_gateway_does() -> None:
    def limits(**gate: object) -> str:
        card = model_card("boiler", FACTS.model_copy(update={"gate": gate}))
        return card.partition("## Limits")[2].partition("## Environment")[0]

    said = limits(index="v7 [x](http://e.vil)", grounded=False)
    assert "Asked without passages" in said and "index v7 \\[x\\]" in said
    assert "passages" not in limits(index="i-1", grounded=True)
    assert "passages" not in limits(index=None, grounded=False)
    assert "passages" not in limits()
