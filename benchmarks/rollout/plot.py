"""The picture of a rollout: thumbs of each arm as answers come, and where the stages begin; SVG."""

from benchmarks.rollout.checks import Stored

_WIDTH, _HEIGHT, _LEFT, _TOP = 720, 240, 50, 50
_COLORS = ("#1f5fa8", "#c23b22")
Points = list[tuple[float, float]]


def svg(stored: Stored, title: str) -> str:
    """Across: answers within the experiment; up: thumbs up so far, as a share of all thumbs."""
    count = max(len(stored.assigned), 1)
    bottom, right = _TOP + _HEIGHT, _LEFT + _WIDTH
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {right + 30} {bottom + 50}"'
        ' font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{_LEFT}" y="20" font-weight="bold">{title}</text>',
        f'<path d="M{_LEFT} {_TOP}V{bottom}H{right}" fill="none" stroke="black"/>',
        f'<text x="{_LEFT}" y="{bottom + 38}">answers, 0 to {count}; up: share of thumbs up</text>',
    ]
    for share in (0.0, 0.5, 1.0):
        y = bottom - share * _HEIGHT
        parts.append(f'<text x="{_LEFT - 4}" y="{y + 4}" text-anchor="end">{share:.0%}</text>')
    for first, percent in _stages(stored):
        x = _LEFT + _WIDTH * first / count
        parts.append(f'<path d="M{x:.1f} {_TOP}V{bottom}" stroke="#999" stroke-dasharray="2 3"/>')
        parts.append(f'<text x="{x + 3:.1f}" y="{bottom + 16}" fill="#666">{percent:g} %</text>')
    for place, (arm, color) in enumerate(
        zip((arm.name for arm in stored.entry.experiment.arms), _COLORS, strict=False)
    ):
        points = _thumbs(stored, arm)
        line = "L".join(
            f"{_LEFT + _WIDTH * x / count:.1f} {bottom - y * _HEIGHT:.1f}" for x, y in points
        )
        if points:
            parts.append(f'<path class="arm" d="M{line}" fill="none" stroke="{color}"/>')
        left = _LEFT + place * 160
        parts.append(f'<text x="{left}" y="40" fill="{color}">{arm}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _stages(stored: Stored) -> Points:
    """Each stage's percent, and the number of the answer with which it began."""
    found, before = [], 0.0
    for position, answer in enumerate(stored.assigned):
        control = stored.entry.experiment.control.name
        share = answer.arm_propensity if answer.arm != control else 1 - answer.arm_propensity
        if share > before + 1e-9:
            found.append((float(position), 100 * share))
            before = share
    return found


def _thumbs(stored: Stored, arm: str) -> Points:
    positions = {answer.id: place for place, answer in enumerate(stored.assigned)}
    points: Points = []
    up = 0.0
    for judged in stored.answers:
        answer = judged.interaction
        if answer.id in positions and answer.arm == arm and judged.feedback:
            up += float(bool(judged.feedback[-1].value))
            points.append((positions[answer.id], up / (len(points) + 1)))
    return points
