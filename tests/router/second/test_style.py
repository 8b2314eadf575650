from pathlib import Path

import numpy as np

from router.second.style import FORMS, Style


def test_a_row_is_tokens_then_form(tmp_path: Path) -> None:
    style = Style.of(["Is it on?", "is it?", "it"])
    assert list(style.tokens) == ["it", "?", "Is", "is", "on"]
    (row,) = style.matrix(["is it off?"])
    np.testing.assert_allclose(row[:-FORMS], [2 / 3**0.5, 2 / 3**0.5, 0, 2 / 3**0.5, 0])
    np.testing.assert_allclose(row[-FORMS:], [0, 1, 0, 1, 0, np.log(5) / 2], rtol=1e-6)
    style.save(tmp_path / "style.json")
    assert Style.load(tmp_path / "style.json").tokens == style.tokens


def test_any_text_has_a_row() -> None:
    assert np.isfinite(Style.of([""]).matrix(["", "\ud800", "短い"])).all()
