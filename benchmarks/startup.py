"""From a fresh clone to the first answer, and from a stop to the next one.

    python -m benchmarks.startup [--installed]      (--installed: use this environment, skip `make
    setup`)

Clones this repository into a temporary folder, runs `make setup` there, starts `turnout up` with an
empty model cache,
and asks one question with `model: auto`; then stops it and does it again. Seconds, as JSON.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx2

URL = "http://127.0.0.1:8080"
QUESTION = "How often should I backflush?"
ROOT = Path(__file__).parent.parent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--installed", action="store_true", help="do not build an environment")
    installed = parser.parse_args().installed
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "turnout"
        subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
        started = time.perf_counter()
        if not installed:
            subprocess.run(["make", "--silent", "setup"], cwd=clone, check=True)
        setup = time.perf_counter() - started
        python = sys.executable if installed else str(clone / ".venv" / "bin" / "python")
        first = until_answer(clone, python)
        again = until_answer(clone, python)
    figures = {"setup": setup, "first_answer": first, "restart_to_answer": again}
    print(json.dumps({name: round(value, 1) for name, value in figures.items()}))


def until_answer(clone: Path, python: str) -> float:
    """Seconds from the start of `turnout up` until an answer to one question has arrived."""
    environment = {**os.environ, "TURNOUT_MODELS__CACHE": str(clone / "models")}
    started = time.perf_counter()
    process = subprocess.Popen(
        [python, "-m", "gateway", "up", "--no-train"],
        cwd=clone,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not answered(clone / "state" / "development.key"):
            if process.poll() is not None or time.perf_counter() - started > 900:
                sys.exit(f"`turnout up` did not answer; see {clone}/state/logs")
            time.sleep(0.1)
        return time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def answered(key: Path) -> bool:
    """Ask; True once a routed answer came."""
    if not key.exists():
        return False
    body = {"model": "auto", "max_tokens": 16, "messages": [{"role": "user", "content": QUESTION}]}
    headers = {"Authorization": f"Bearer {key.read_text().strip()}"}
    try:
        answer = httpx2.post(f"{URL}/v1/chat/completions", json=body, headers=headers, timeout=60)
    except httpx2.HTTPError:
        return False
    return answer.status_code == 200 and answer.headers["x-turnout-route"] == "espresso"


if __name__ == "__main__":
    main()
