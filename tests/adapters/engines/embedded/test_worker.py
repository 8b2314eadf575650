"""What happens to requests when computing fails, or too many wait."""

import contextlib
import threading

import httpx2
import pytest

from adapters.engines.embedded.batcher import Batcher, Sequence
from adapters.engines.embedded.server import create_app
from tests.serving import serving, wait_for

BODY = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}


class Failing(Batcher):
    """Fails as often as `failures` says, then works; `hold` keeps it from computing."""

    failures = 1
    hold = threading.Event()

    def step(self) -> list[Sequence]:
        self.hold.wait(30)
        if self.failures:
            self.failures -= 1
            raise RuntimeError("out of luck")
        return super().step()


@pytest.mark.parametrize("stream", [False, True])
def test_failed_step_is_an_error_and_the_next_one_works(batcher: Batcher, stream: bool) -> None:
    failing = Failing(batcher.model, 2, 256)
    failing.hold.set()
    with serving(create_app(failing, "m")) as url, httpx2.Client(base_url=url, timeout=60) as http:
        answer = http.post("/v1/chat/completions", json={**BODY, "stream": stream})
        assert answer.status_code == (200 if stream else 500)
        assert '"message":"The engine failed while computing this answer."' in answer.text
        assert answer.text.endswith("data: [DONE]\n\n") or not stream
        assert http.get("/health").status_code == 200
        assert http.post("/v1/chat/completions", json=BODY).is_success


def test_too_many_requests_are_refused(batcher: Batcher) -> None:
    held = Failing(batcher.model, 2, 256)
    held.hold.clear()
    held.failures = 0
    many = {"prompt": ["Hi"] * 64, "max_tokens": 1, "stream": True}
    with (
        serving(create_app(held, "m")) as url,
        httpx2.Client(base_url=url, timeout=60) as http,
        contextlib.ExitStack() as waiting,
    ):
        # Two may run and 256 wait.
        for _ in range(4):
            stream = http.stream("POST", "/v1/completions", json=many)
            assert waiting.enter_context(stream).status_code == 200
        refused = http.post("/v1/completions", json=many)
        assert refused.status_code == 503
        assert refused.json()["error"]["type"] == "ServiceUnavailableError"
        waiting.close()
        held.hold.set()
        wait_for(lambda: http.post("/v1/completions", json=many).is_success, "room again")
