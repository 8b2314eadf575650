"""The picture of the simulated experiments: shares decided as the experiment goes on, as SVG."""

from collections.abc import Sequence

import numpy as np

from adapters.experiments.statistics.moments import Array
from benchmarks.experiments.run import TEST, Row

_WIDTH, _HEIGHT, _LEFT, _TOP, _GAP = 300, 180, 50, 60, 50
_LINES = (
    ("none", False, "no effect", "#1f5fa8"),
    ("none", True, "no effect, peeking at a z-test", "#c23b22"),
    ("one", False, "minimum effect", "#3a8f3a"),
    ("two", False, "twice that", "#8a5fb0"),
)


def svg(rows: Sequence[Row]) -> str:
    """One panel per metric; across: fraction of the horizon, up: share of experiments decided."""
    width = _LEFT + len(rows) * (_WIDTH + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_TOP + _HEIGHT + 50}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for place, (_, _, label, colour) in enumerate(_LINES):
        left = _LEFT + place * 220
        parts.append(f'<line x1="{left}" x2="{left + 20}" y1="18" y2="18" stroke="{colour}"/>')
        parts.append(f'<text x="{left + 26}" y="22">{label}</text>')
    for place, row in enumerate(rows):
        parts += _panel(row, _LEFT + place * (_WIDTH + _GAP))
    return "\n".join([*parts, "</svg>\n"])


def _panel(row: Row, left: float) -> list[str]:
    bottom, right = _TOP + _HEIGHT, left + _WIDTH
    parts = [
        f'<text x="{left}" y="{_TOP - 10}" font-weight="bold">{row.metric}</text>',
        f'<path d="M{left} {_TOP}V{bottom}H{right}" fill="none" stroke="black"/>',
        f'<text x="{left}" y="{bottom + 30}">fraction of the horizon, 0 to 1</text>',
    ]
    for share, dashes in ((TEST.alpha, "2 3"), (0.8, "2 3"), (1.0, "none")):
        y = bottom - share * _HEIGHT
        parts.append(
            f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#999"'
            f' stroke-dasharray="{dashes}"/>'
            f'<text x="{left - 4}" y="{y + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        )
    for outcome, peeking, _, colour in _LINES:
        shares = getattr(row, outcome).by_look(peeking=peeking)
        parts.append(f'<path d="{_path(shares, left)}" fill="none" stroke="{colour}"/>')
    return parts


def _path(shares: Array, left: float) -> str:
    across = left + _WIDTH * np.arange(1, len(shares) + 1) / len(shares)
    up = _TOP + _HEIGHT * (1 - shares)
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(across, up, strict=True))
