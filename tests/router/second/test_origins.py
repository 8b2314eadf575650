import numpy as np

from router.fitting.topics import topics_of
from router.second.origins import held_out, origins_of

VECTORS = np.eye(8, dtype=np.float32)[np.arange(240) % 8]
LABELS = np.array([0] * 120 + [1] * 120)


def test_an_origin_is_a_source_of_one_label_or_a_cluster() -> None:
    """Label 0 has two sources, the small parts of "many" being one; label 1 has one source, so
    its examples are clustered."""
    sources = ["big"] * 60 + [f"many/{n}" for n in range(60)] + ["log"] * 120
    origins = origins_of(sources, LABELS, VECTORS, seed=0)
    assert set(origins[:60]) == {0} and set(origins[60:120]) == {1}
    assert set(origins[120:]) == {2, 3, 4, 5}


def test_each_row_is_held_out_once_and_its_origin_with_it() -> None:
    origins = np.concatenate([np.arange(120) % 3, 3 + np.arange(120) % 10])
    folds = list(held_out(origins, LABELS, 8))
    assert len(folds) <= 8
    assert sorted(row for _, outside in folds for row in outside) == list(range(240))
    for inside, outside in folds:
        assert not set(origins[inside]) & set(origins[outside])
        assert set(LABELS[inside]) == {0, 1}


def test_known_domains_have_topics_by_name_and_alias() -> None:
    topics = topics_of(["medical", "Law", "espresso", "general"])
    assert set(topics) == {"medical", "Law", "general"}
    assert "high blood pressure" in topics["medical"] and "an eviction" in topics["Law"]
    assert all(entry and ";" not in entry for entries in topics.values() for entry in entries)


def test_no_entry_belongs_to_two_domains() -> None:
    topics = topics_of(["medical", "legal", "finance", "maintenance", "telecom", "general"])
    entries = [entry for each in topics.values() for entry in each]
    assert len(entries) == len(set(entries))
