"""An adapter that an engine could not or should not load is refused, with the reason."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from peft.utils.other import get_pattern_key
from safetensors.numpy import save_file

from adapters.base_model import check_fits_base
from adapters.errors import CorruptAdapter
from adapters.files import MAX_BYTES
from adapters.lora import Module, check_adapter, read_modules
from tests.adapters.folders import MODULE, write_adapter, write_base, write_weights

A = f"base_model.model.{MODULE}.lora_A.weight"
B = f"base_model.model.{MODULE}.lora_B.weight"
WHOLE = {A: np.ones((8, 16), np.float32), B: np.ones((4, 8), np.float32)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_adapter(tmp_path / "a")


def test_a_plain_lora_is_accepted(folder: Path) -> None:
    assert check_adapter(folder)["r"] == 8
    assert read_modules(folder) == {MODULE: Module(inputs=16, outputs=16, rank=8)}


@pytest.mark.parametrize(
    "options",
    [
        {"use_rslora": True},
        {"use_dora": False, "modules_to_save": None, "rank_pattern": {}, "alpha_pattern": {}},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": None},
        {"target_modules": "all-linear"},
        {"lora_alpha": 16.5, "unknown_to_us": {"deep": [1]}},
        {"r": 64, "rank_pattern": {"q_proj": 8}},
        {"r": 64, "rank_pattern": {r"^model\.layers\.\d+\.self_attn\.q_proj$": 8}},
        {"rank_pattern": {"k_proj": 64, "roj": 16}},
    ],
)
def test_what_engines_load_is_accepted(tmp_path: Path, options: dict[str, object]) -> None:
    folder = write_adapter(tmp_path / "a", **options)  # type: ignore[arg-type]
    assert check_adapter(folder)["peft_type"] == "LORA"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"peft_type": "IA3"}, "only LORA"),
        ({"peft_type": None}, "peft_type"),
        ({"r": 12}, "rank 12"),
        ({"r": 0}, "'r'"),
        ({"r": -8}, "'r'"),
        ({"r": True}, "'r'"),
        ({"r": "8"}, "'r'"),
        ({"r": 8.0}, "'r'"),
        ({"r": None}, "'r'"),
        ({"r": 10**4000}, "rank 1000"),
        ({"r": 16}, "has rank 8, adapter_config.json says 16"),
        ({"lora_alpha": float("nan")}, "lora_alpha"),
        ({"lora_alpha": float("inf")}, "lora_alpha"),
        ({"lora_alpha": 0}, "lora_alpha"),
        ({"lora_alpha": "16"}, "lora_alpha"),
        ({"lora_alpha": True}, "lora_alpha"),
        ({"lora_alpha": 10**400}, "lora_alpha"),
        ({"target_modules": {"a": 1}}, "target_modules"),
        ({"target_modules": [1]}, "target_modules"),
        ({"target_modules": None}, "target_modules"),
        ({"use_dora": True}, "use_dora"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"lora_bias": True}, "lora_bias"),
        ({"alora_invocation_tokens": [1]}, "alora_invocation_tokens"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
        ({"use_bdlora": {"a": 1}}, "use_bdlora"),
        ({"use_qalora": True}, "use_qalora"),
        ({"target_parameters": ["experts"]}, "target_parameters"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"bias": "all"}, "bias='all'"),
        ({"bias": None}, "bias"),
        ({"use_rslora": "no"}, "use_rslora"),
        ({"init_lora_weights": "pissa_niter_4"}, "pissa"),
        ({"init_lora_weights": "of tomorrow"}, "of tomorrow"),
        ({"init_lora_weights": 1}, "init_lora_weights"),
        ({"rank_pattern": {"q_proj": 16}}, "has rank 8, adapter_config.json says 16"),
        ({"rank_pattern": {"k_proj": 12}}, "rank 12"),
        ({"rank_pattern": {"k_proj": True}}, "rank_pattern"),
        ({"rank_pattern": {"k_proj": "8"}}, "rank_pattern"),
        ({"rank_pattern": ["k_proj"]}, "rank_pattern"),
        ({"rank_pattern": {"(a+)+": 8}}, "more than a module's name"),
        ({"rank_pattern": {"[": 8}}, "more than a module's name"),
        ({"rank_pattern": {"": 8}}, "more than a module's name"),
        ({"rank_pattern": {r"\d+\d+\d+": 8}}, "more than a module's name"),
        ({"rank_pattern": {"x" * 257: 8}}, "rank_pattern"),
        ({"alpha_pattern": {"(a|a)*": 8}}, "more than a module's name"),
        ({"alpha_pattern": {"q_proj": float("nan")}}, "alpha_pattern"),
        ({"filler": "x" * 2**20}, "at most 1048576"),
    ],
)
def test_what_engines_refuse_is_refused_first(
    folder: Path, options: dict[str, object], said: str
) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **options}))
    with pytest.raises(CorruptAdapter, match=said):
        check_adapter(folder)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"null", b"{", b"[" * 100_000, b'{"r":' * 99_999, b"\xff", b"\xef\xbb\xbf{}"],
)
def test_what_is_no_configuration_is_refused(folder: Path, content: bytes) -> None:
    (folder / "adapter_config.json").write_bytes(content)
    with pytest.raises(CorruptAdapter, match=r"adapter_config\.json"):
        check_adapter(folder)


@pytest.mark.parametrize("missing", ["peft_type", "r", "lora_alpha", "target_modules"])
def test_what_engines_need_must_be_there(folder: Path, missing: str) -> None:
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text())
    del config[missing]
    path.write_text(json.dumps(config))
    with pytest.raises(CorruptAdapter, match=missing):
        check_adapter(folder)


def layer(number: int, name: str = "q_proj") -> str:
    return f"model.layers.{number}.self_attn.{name}"


@pytest.mark.parametrize(
    "key", ["q_proj", "layers.1.self_attn.q_proj", r"layers\.1\..*", "1.q_proj", "_proj"]
)
def test_patterns_match_as_peft_matches_them(tmp_path: Path, key: str) -> None:
    names = [layer(0), layer(1), layer(11), layer(1, "k_proj")]
    ranks = {name: 16 if get_pattern_key([key], name) == key else 8 for name in names}
    folder = write_adapter(tmp_path / "a", rank_pattern={key: 16})
    write_weights(folder, {name: (rank, 4, 4) for name, rank in ranks.items()})
    if "*" in key:
        with pytest.raises(CorruptAdapter, match="more than a module's name"):
            check_adapter(folder)
        return
    check_adapter(folder)
    for name in names:
        wrong = {**ranks, name: 24 - ranks[name]}
        write_weights(folder, {name: (rank, 4, 4) for name, rank in wrong.items()})
        with pytest.raises(CorruptAdapter, match=f"{name} has rank"):
            check_adapter(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({B: None}, "has no lora_B"),
        ({A: None}, "has no lora_A"),
        ({A: np.ones((4, 16), np.float32)}, "lora_A has rank 4, lora_B has rank 8"),
        ({A: np.ones((8, 16, 1), np.float32)}, "expected two dimensions"),
        ({A: np.ones((), np.float32)}, "expected two dimensions"),
        ({A: np.ones((8, 0), np.float32)}, "expected two dimensions"),
        ({A: np.ones((8, 16), np.float64)}, "dtype F64"),
        ({A: np.ones((8, 16), np.int8)}, "dtype I8"),
        ({f"base_model.model.{MODULE}.lora_magnitude_vector": np.ones(4)}, "DoRA"),
        ({f"base_model.model.{MODULE}.lora_magnitude_vector.weight": np.ones(4)}, "DoRA"),
        ({"base_model.model.model.embed_tokens.lora_embedding_A": np.ones((8, 4))}, "embeddings"),
        ({"base_model.model.lm_head.modules_to_save.weight": np.ones((4, 4))}, "modules_to_save"),
        ({f"base_model.model.{MODULE}.bias": np.ones(4)}, "bias tensors"),
        ({f"base_model.model.{MODULE}.lora_B.bias": np.ones(4)}, "bias tensors"),
        ({f"base_model.model.{MODULE}.base_layer.weight": np.ones((4, 4))}, "base weights"),
        ({f"base_model.model.{MODULE}.weight": np.ones((4, 4))}, "is not named"),
        ({"model.lora_A.weight": np.ones((8, 4))}, "is not named"),
        ({"../../x": np.ones(1)}, "is not named"),
        ({"\x1b[31m": np.ones(1)}, r"\\x1b"),
    ],
)
def test_weights_that_are_no_lora_are_refused(
    folder: Path, change: dict[str, "np.ndarray | None"], said: str
) -> None:
    tensors = {name: value for name, value in {**WHOLE, **change}.items() if value is not None}
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(CorruptAdapter, match=said):
        check_adapter(folder)


@pytest.mark.parametrize("kind", [np.float32, np.float16])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(folder: Path, bad: float, kind: type) -> None:
    weights = np.ones((8, 16), dtype=kind)
    weights[7, 15] = bad
    save_file({**WHOLE, A: weights}, folder / "adapter_model.safetensors")
    with pytest.raises(CorruptAdapter, match="NaN or infinite"):
        check_adapter(folder)


def write_raw(folder: Path, header: bytes, data: bytes, length: int | None = None) -> None:
    """A safetensors file byte by byte; `length` is what it claims of its header."""
    size = struct.pack("<Q", len(header) if length is None else length)
    (folder / "adapter_model.safetensors").write_bytes(size + header + data)


def header(start: int = 512, end: int = 640, **changes: object) -> bytes:
    """The header of `WHOLE`, with lora_B elsewhere or otherwise."""
    first = {"dtype": "F32", "shape": [8, 16], "data_offsets": [0, 512]}
    second = {"dtype": "F32", "shape": [4, 8], "data_offsets": [start, end], **changes}
    return json.dumps({A: first, B: second}).encode()


def test_bytes_written_by_hand_are_accepted(folder: Path) -> None:
    write_raw(folder, header(), bytes(640))
    check_adapter(folder)


@pytest.mark.parametrize(
    ("head", "data", "length"),
    [
        (header(), bytes(639), None),
        (header(), bytes(641), None),
        (header(), b"", None),
        (header(384, 512), bytes(640), None),
        (header(384, 512), bytes(512), None),
        (header(640, 768), bytes(768), None),
        (header(512, 2**63), bytes(640), None),
        (header(shape=[4, 9]), bytes(640), None),
        (header(shape=[-4, -8]), bytes(640), None),
        (header(shape=[2**62, 2**62]), bytes(640), None),
        (header(shape="48"), bytes(640), None),
        (header(dtype="PICKLE"), bytes(640), None),
        (header(data_offsets=[512]), bytes(640), None),
        (header()[:-1] + b"," + header()[1:], bytes(640), None),
        (b"{}", b"", None),
        (b'{"__metadata__": {"format": "pt"}}', b"", None),
        (b"", b"", None),
        (b"[" * 5000, b"", None),
        (b"null", b"", None),
        (b"\xff" * 8, b"", None),
        (header(), bytes(640), 2**63),
        (header(), bytes(640), 2**27),
        (header(), bytes(640), 10_000),
        (header(), bytes(640), 10),
        (header(), bytes(640), 0),
    ],
)
def test_a_file_that_lies_about_itself_is_refused(
    folder: Path, head: bytes, data: bytes, length: int | None
) -> None:
    write_raw(folder, head, data, length)
    with pytest.raises(CorruptAdapter, match="not a whole safetensors file|holds no tensors"):
        check_adapter(folder)


def test_a_missing_file_is_named(folder: Path) -> None:
    (folder / "adapter_model.safetensors").unlink()
    with pytest.raises(CorruptAdapter, match=r"adapter_model\.safetensors: cannot be read"):
        check_adapter(folder)


@pytest.mark.parametrize(
    "name", ["adapter_model.bin", "x.pt", "x.PTH", "x.pkl", "x.pickle", "x.py", "x.ckpt", "x.so"]
)
def test_what_may_run_code_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\x80\x04.")
    with pytest.raises(CorruptAdapter, match="may run code"):
        check_adapter(folder)


@pytest.mark.parametrize("harm", ["link", "dangling", "pipe", "folder", "name", "many", "large"])
def test_only_a_few_plain_files_are_accepted(tmp_path: Path, folder: Path, harm: str) -> None:
    match harm:
        case "link":
            (folder / "adapter_config.json").rename(tmp_path / "real")
            (folder / "adapter_config.json").symlink_to(tmp_path / "real")
        case "dangling":
            (folder / "link").symlink_to("/nowhere")
        case "pipe":
            os.mkfifo(folder / "pipe")
        case "folder":
            (folder / "more").mkdir()
        case "name":
            (folder / "a\nb").touch()
        case "many":
            for number in range(64):
                (folder / f"{number}").touch()
        case "large":
            with (folder / "filler").open("wb") as file:
                file.truncate(MAX_BYTES)
    with pytest.raises(CorruptAdapter, match="regular|plain|at most"):
        check_adapter(folder)


def test_hidden_files_are_let_through(folder: Path) -> None:
    (folder / ".gitattributes").touch()
    check_adapter(folder)


@settings(deadline=None)
@given(junk=st.binary(max_size=200))
def test_no_bytes_get_through_as_weights_or_configuration(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes
) -> None:
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        folder = write_adapter(tmp_path_factory.mktemp("junk") / "a")
        (folder / name).write_bytes(junk)
        with pytest.raises(CorruptAdapter):
            check_adapter(folder)


def _outcome(folder: Path) -> None:
    """The check says yes or CorruptAdapter, and nothing else."""
    try:
        check_adapter(folder)
    except CorruptAdapter as exc:
        assert str(exc)


@settings(deadline=None)
@given(data=st.data())
def test_cut_and_flipped_bytes_raise_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = write_adapter(tmp_path_factory.mktemp("flipped") / "a", rank=1)
    path = folder / "adapter_model.safetensors"
    content = bytearray(path.read_bytes())
    # Mostly in the header, where a change means something.
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, 250))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    _outcome(folder)
    path.write_bytes(content[: data.draw(st.integers(0, len(content) - 1))])
    with pytest.raises(CorruptAdapter):
        check_adapter(folder)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
_FIELDS = st.sampled_from(
    "peft_type r lora_alpha target_modules bias use_rslora use_dora init_lora_weights rank_pattern "
    "alpha_pattern fan_in_fan_out modules_to_save".split()
)


@settings(deadline=None)
@given(options=st.dictionaries(_FIELDS, _JSON, min_size=1), keep=st.booleans())
def test_no_configuration_raises_anything_else(
    tmp_path_factory: pytest.TempPathFactory, options: dict[str, object], keep: bool
) -> None:
    folder = write_adapter(tmp_path_factory.mktemp("config") / "a")
    path = folder / "adapter_config.json"
    whole = json.loads(path.read_text()) if keep else {}
    path.write_text(json.dumps({**whole, **options}))
    _outcome(folder)


WEIGHT = f"{MODULE}.weight"


@pytest.mark.parametrize(
    ("shapes", "config"),
    [
        ({WEIGHT: (16, 16), "lm_head.weight": (99, 16)}, {}),
        ({WEIGHT.removeprefix("model."): (16, 16)}, {}),
        ({f"{MODULE}.qweight": (2, 16)}, {"quantization_config": {"bits": 4}}),
        ({WEIGHT: (128, 1)}, {"quantization_config": {"load_in_4bit": True}}),
    ],
)
def test_an_adapter_fits_its_base(
    tmp_path: Path, folder: Path, shapes: dict[str, tuple[int, ...]], config: dict[str, object]
) -> None:
    check_fits_base(folder, write_base(tmp_path / "base", shapes, **config))


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ({WEIGHT: (16, 32)}, r"\[16, 16\] for the adapter, \[16, 32\]"),
        ({WEIGHT: (32, 16)}, r"\[16, 16\] for the adapter, \[32, 16\]"),
        ({WEIGHT: (256,)}, "another base model"),
        ({"model.layers.1.self_attn.q_proj.weight": (16, 16)}, "has no module"),
    ],
)
def test_an_adapter_of_another_base_is_refused(
    tmp_path: Path, folder: Path, shapes: dict[str, tuple[int, ...]], said: str
) -> None:
    with pytest.raises(CorruptAdapter, match=said):
        check_fits_base(folder, write_base(tmp_path / "base", shapes))


def test_outputs_and_inputs_are_told_apart(tmp_path: Path, folder: Path) -> None:
    write_weights(folder, {MODULE: (8, 16, 4), "lm_head": (8, 16, 99)})
    shapes = {WEIGHT: (4, 16), "model.embed_tokens.weight": (99, 16)}
    check_fits_base(folder, write_base(tmp_path / "base", shapes))
    with pytest.raises(CorruptAdapter, match="another base model"):
        check_fits_base(folder, write_base(tmp_path / "turned", {**shapes, WEIGHT: (16, 4)}))
    write_adapter(folder, fan_in_fan_out=True)
    write_weights(folder, {MODULE: (8, 16, 4)})
    check_fits_base(folder, write_base(tmp_path / "turned", {WEIGHT: (16, 4)}))


def test_shards_are_followed_and_lead_nowhere_else(tmp_path: Path, folder: Path) -> None:
    base = write_base(tmp_path / "base", {WEIGHT: (16, 16)})
    (base / "model.safetensors").rename(base / "model-00001-of-00001.safetensors")
    index = base / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {WEIGHT: "model-00001-of-00001.safetensors"}}))
    check_fits_base(folder, base)
    for broken, said in (
        ({"weight_map": {WEIGHT: "../x.safetensors"}}, "not a plain file name"),
        ({"weight_map": {WEIGHT: "model-2.safetensors"}}, "cannot be read"),
        ({"weight_map": []}, "no weight_map"),
        ([], "expected a JSON object"),
    ):
        index.write_text(json.dumps(broken))
        with pytest.raises(CorruptAdapter, match=said):
            check_fits_base(folder, base)
