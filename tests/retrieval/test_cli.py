import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from retrieval.cli import docs


@dataclass(frozen=True)
class Workspace:
    artifacts: Path
    encoder: Path


@pytest.fixture
def workspace(tmp_path: Path, encoder_folder: Path) -> Workspace:
    return Workspace(tmp_path / "artifacts", encoder_folder)


def turnout_docs(workspace: Workspace, *arguments: str | Path) -> Result:
    return CliRunner().invoke(docs, [str(a) for a in arguments], obj=workspace)


def test_ingest_search_list_and_rollback(workspace: Workspace, tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "pump.md").write_text("# Pump\n\nA loud pump has air in it.\n")
    ingest = ("ingest", folder, "--domain", "coffee", "--json")
    first = json.loads(turnout_docs(workspace, *ingest).stdout)
    assert (first["documents"], first["passages"]) == (1, 1)
    (folder / "scale.txt").write_text("Descale the boiler.")
    second = json.loads(turnout_docs(workspace, *ingest).stdout)

    found = turnout_docs(workspace, "search", "loud pump", "--domain", "coffee", "--json")
    assert json.loads(found.stdout)[0]["id"] == "pump#0"
    found = turnout_docs(workspace, "search", "loud pump", "--domain", "coffee", "--top-k", "1")
    assert found.stdout.startswith("[1] ") and "A loud pump has air in it." in found.stdout

    (row,) = json.loads(turnout_docs(workspace, "list", "--json").stdout)
    assert (row["version"], row["history"]) == (second["version"], [first["version"]])
    listed = turnout_docs(workspace, "list").stdout
    assert all(cell in listed for cell in (row["version"], row["created"], *row["history"]))
    back = turnout_docs(workspace, "rollback", "coffee", "--json")
    assert json.loads(back.stdout) == {"domain": "coffee", "version": first["version"]}
    assert turnout_docs(workspace, "rollback", "coffee").exit_code == 2


def test_eval_prints_the_shape_others_read(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text('{"id": "a", "title": "Pump", "text": "loud pump"}')
    (tmp_path / "q.jsonl").write_text('{"query": "pump", "doc_id": "a", "relevance": 1}')
    arguments = ("eval", "--documents", tmp_path / "d.jsonl", "--qrels", tmp_path / "q.jsonl")
    assert json.loads(turnout_docs(workspace, *arguments, "--json").stdout)["ndcg10"] == 1
    assert "nDCG@10 1.000" in turnout_docs(workspace, *arguments).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ingest", "absent", "--domain", "coffee"), "absent does not exist"),
        (("ingest", ".", "--domain", "../up"), "cannot be a domain"),
        (("search", "x", "--domain", "coffee"), "'coffee' has no index; known are: none"),
        (("rollback", "coffee"), "'coffee' has no index"),
        (("eval", "--documents", "absent", "--qrels", "absent"), "absent does not exist"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_two(
    workspace: Workspace, arguments: tuple[str, ...], message: str
) -> None:
    result = turnout_docs(workspace, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr and "Traceback" not in result.output
    assert result.stdout == ""
