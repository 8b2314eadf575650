"""The journal's sink on a real PostgreSQL, where one is named: its statements are not SQLite's.

TEST_POSTGRES_URL=postgresql+psycopg://user@host/empty pytest tests/adapters/test_postgres.py
"""

import os

import pytest

from adapters import tables
from adapters.interactions import Feedback
from adapters.store import Store
from tests.adapters.test_store import interaction, records

URL = os.environ.get("TEST_POSTGRES_URL", "")


@pytest.mark.skipif(not URL, reason="TEST_POSTGRES_URL names no database")
def test_records_are_taken_once_and_come_back_whole() -> None:
    store = Store(URL)
    said = {"messages": [{"role": "user", "content": 'a NUL \0, "quotes", \\u0000 and 🚂'}]}
    first, second = interaction("a", request=said), interaction("b", created=2.0, arm="x")
    judgement = Feedback("f1", "b", 3.0, "thumb", True, comment="\0")
    for _ in range(3):
        store.take(records(judgement, first, second, first))
    assert [judged.interaction for judged in store.judged("legal")] == [first, second]
    assert [judged.feedback for judged in store.judged()] == [(), (judgement,)]
    assert store.forget(unit="u1") == 2
    assert store.count(tables.feedback) == 0
    store.close()
