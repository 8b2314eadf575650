"""The picture of the domains phase: the score of every side, domain by domain, as SVG."""

from benchmarks.training.comparison import Comparison, Side

_HEIGHT, _LEFT, _TOP, _BAR, _GAP = 200, 50, 50, 22, 30
_COLORS = {
    Side.BASE: "#b9c2cc",
    Side.GROUNDED_EXAMPLES: "#8fa3b8",
    Side.SERVED_PROMPT: "#788fa8",
    Side.BEST_PROMPT: "#5f7a96",
    Side.ADAPTER: "#1f5fa8",
    Side.GROUNDED_ADAPTER: "#3a8f3a",
}
_GROUP = len(Side) * _BAR + _GAP


def svg(found: Comparison) -> str:
    """A bar a side for each domain and for the mean of all."""
    groups = [(one.domain, {side: one.sides[side].score for side in Side}) for one in found.domains]
    groups.append(("mean", {side: found.mean(side) for side in Side}))
    bottom, right = _TOP + _HEIGHT, max(_LEFT + len(groups) * _GROUP, len(Side) * 170)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right} {bottom + 40}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="black"/>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * _HEIGHT
        parts.append(f'<text x="{_LEFT - 4}" y="{y + 4}" text-anchor="end">{share:.0%}</text>')
    for place, (side, color) in enumerate(_COLORS.items()):
        x, y = _LEFT + place % 3 * 330, 18 + place // 3 * 18
        parts.append(f'<text x="{x}" y="{y}" fill="{color}">■ {side}</text>')
    for place, (name, scores) in enumerate(groups):
        left = _LEFT + _GAP / 2 + place * _GROUP
        parts.append(f'<text x="{left}" y="{bottom + 18}">{name}</text>')
        parts += [_bar(left + i * _BAR, bottom, side, scores[side]) for i, side in enumerate(Side)]
    return "\n".join([*parts, "</svg>\n"])


def _bar(x: float, bottom: float, side: Side, score: float) -> str:
    height = score * _HEIGHT
    return (
        f'<rect class="score" x="{x:.1f}" y="{bottom - height:.1f}" width="{_BAR - 3}"'
        f' height="{height:.1f}" fill="{_COLORS[side]}"><title>{side} {score:.3f}</title></rect>'
    )
