"""What a gateway holds in memory because it has started: nothing that only some requests, verbs or
configurations need."""

import subprocess
import sys

UNUSED = {
    *("alembic", "faiss", "fsspec", "onnx", "onnxruntime", "scipy", "sklearn", "tokenizers"),
    *("torch", "transformers"),
}


def imported_by(statement: str) -> set[str]:
    """Packages in memory after a statement, in a process of its own."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_serving_imports_only_what_serving_needs() -> None:
    found = imported_by("import gateway.door, gateway.cli")
    assert "fastapi" in found and not found & UNUSED


def test_the_drainer_imports_neither_sqlalchemy_nor_pydantic() -> None:
    found = imported_by("import adapters.drainer")
    assert "msgspec" in found and not found & {"alembic", "numpy", "pydantic", "sqlalchemy"}
