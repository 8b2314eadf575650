"""A pack that cannot be used says which file and why."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.errors import PackError
from adapters.packs import Pack, read_jsonl
from tests.conftest import ROOT

GOOD = 'name = "tiny"\ntitle = "Tiny"\n'
CHECK = GOOD + '[[checks]]\nname = "c"\n'


@pytest.mark.parametrize("name", ["espresso", "library"])
def test_the_example_packs_load(name: str) -> None:
    pack = Pack.load(ROOT / "examples" / name)
    assert pack.name == name
    assert None not in (pack.documents, pack.train, pack.eval, pack.queries)
    assert {line["label"] for line in pack.routing_examples()} == {name}


@pytest.mark.parametrize("name", ["espresso", "library"])
def test_the_example_packs_own_answers_pass_their_checks(name: str) -> None:
    pack = Pack.load(ROOT / "examples" / name)
    judged = []
    for file in (pack.train, pack.eval):
        for _, row in read_jsonl(file or Path()):
            text, task = row["messages"][-1]["content"], row["meta"]["task"]
            judged += [check.passes(text, task=task) for check in pack.checks]
    assert False not in judged and judged.count(True) > 250
    assert not any(check.passes("I cannot say.", task="fault_class") for check in pack.checks)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "does not exist"),
        ("name = ", "not valid TOML"),
        ('title = "no name"', "name: Field required"),
        ('name = "Bad Name"\ntitle = "x"', "name: String should match"),
        ('name = "auto"\ntitle = "x"', "reserved"),
        (GOOD + "topk = 3", "topk: Extra inputs"),
        (GOOD + "[retrieval]\ntop_k = 999", "retrieval.top_k"),
        (CHECK + 'kind = "regex"', "checks.0: .*'regex'.* 'json', 'one_of', 'pattern'"),
        (CHECK, "checks.0: .*discriminator 'kind'"),
        (CHECK + 'kind = "one_of"', "checks.0.one_of.values: Field required"),
        (CHECK + 'kind = "one_of"\nvalues = []', "checks.0.one_of.values"),
        (CHECK + 'kind = "json"\nschema = 1', "checks.0.json.schema: Extra inputs"),
        (CHECK + 'kind = "length"', "checks.0.length: needs most_characters or most_words"),
        (CHECK + 'kind = "pattern"\npattern = "(a"', "checks.0.pattern.pattern: .*missing \\)"),
        (CHECK + 'kind = "pattern"\npattern = "(?=a)"', "RE2's syntax"),
        (CHECK + f'kind = "pattern"\npattern = "{"a" * 501}"', "checks.0.pattern.pattern"),
        (CHECK + 'kind = "cites"\n[[checks]]\nname = "c"\nkind = "cites"', "two checks share"),
        (GOOD + '[[checks]]\nname = "a b"\nkind = "cites"', "checks.0.cites.name"),
        (GOOD, "is empty"),
    ],
)
def test_bad_packs_are_refused(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / "pack.toml").write_text(text)
    with pytest.raises(PackError, match=said):
        Pack.load(tmp_path)


def test_a_bad_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "pack.toml").write_text(GOOD)
    (tmp_path / "queries.jsonl").write_text('{"text": "a", "label": "tiny"}\n\n{"text": 3}\n')
    with pytest.raises(PackError, match=r"queries\.jsonl:3"):
        list(Pack.load(tmp_path).routing_examples())


@given(junk=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes
) -> None:
    path = tmp_path_factory.mktemp("junk") / "lines.jsonl"
    path.write_bytes(junk)
    try:
        assert all(isinstance(row, dict) for _, row in read_jsonl(path))
    except PackError as exc:
        assert str(path) in str(exc)
