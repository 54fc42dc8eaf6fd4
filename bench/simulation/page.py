"""What simulations found, as a table and as a picture: how much is queued and how much waits outside, over time."""

from __future__ import annotations

from collections.abc import Sequence

from simulation.scenario import BEGINS, Outcome

WIDTH, PANEL, LEFT, TOP = 760, 132, 70, 52
COLUMNS = ("fault", "most queued", "most outside (4xx)", "refusals", "99 % gone after", "all gone after", "sent twice", "mean wait", "other stores, 99 %")


def table(outcomes: Sequence[Outcome]) -> str:
    """Markdown."""
    lines = ["| " + " | ".join(COLUMNS) + " |", "|---" + "|--:" * (len(COLUMNS) - 1) + "|"]
    for found in outcomes:
        cells = (
            found.fault.words, f"{found.peak:,}", f"{found.peak_outside:,}", f"{found.refusals:,}", f"{found.backlog_gone:,.0f} s",
            f"{found.drained:,.0f} s", f"{found.repeated:,}", f"{found.mean_wait:.2f} s", f"{found.others_wait:.2f} s",
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def picture(outcomes: Sequence[Outcome], stamp: str) -> str:
    """SVG, readable on light and dark pages: one panel for each fault."""
    height = TOP + PANEL * len(outcomes) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="t" '
        'font-family="system-ui, sans-serif" font-size="12">',
        "<style>text{fill:#24292f}.q{fill:#57606a}.r{stroke:#0969da;fill:none}.s{stroke:#bf8700;fill:none}.f{fill:#8c959f;opacity:.2}"
        ".a{stroke:#8c959f}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.q{fill:#9198a1}.r{stroke:#4493f8}.s{stroke:#d29922}}</style>",
        '<title id="t">Messages queued and messages outside while something fails</title>',
        '<text x="10" y="20" font-size="13" font-weight="600">Messages queued on relays, and refused ones outside, by time</text>',
        '<path class="r" stroke-width="2" d="M10 36h18"/><text x="33" y="40">queued</text>',
        '<path class="s" stroke-width="2" d="M90 36h18"/><text x="113" y="40">outside</text>',
    ]
    for number, found in enumerate(outcomes):
        parts += _panel(found, TOP + PANEL * number)
    parts.append(f'<text class="q" x="10" y="{height - 6}" font-size="11">{stamp}; shaded: the fault</text>')
    return "\n".join([*parts, "</svg>\n"])


def _panel(found: Outcome, top: float) -> list[str]:
    last = found.samples[-1][0]
    most = max(found.peak, found.peak_outside, 1)
    wide, high, base = (WIDTH - LEFT - 20) / last, (PANEL - 48) / most, top + PANEL - 22

    def line(column: int) -> str:
        points = [f"{LEFT + sample[0] * wide:.1f} {base - sample[column] * high:.1f}" for sample in found.samples]
        return "M" + "L".join(points)

    hours = [f'<text class="q" x="{LEFT + at * wide:.0f}" y="{base + 13}" font-size="10">{at // 60} min</text>' for at in range(0, int(last), 1200)]
    return [
        f'<text x="{LEFT}" y="{top + 14}">{found.fault.words}</text>',
        f'<rect class="f" x="{LEFT + BEGINS * wide:.1f}" y="{top + 22}" width="{found.fault.seconds * wide:.1f}" height="{PANEL - 44}"/>',
        f'<text class="q" x="{LEFT - 6}" y="{top + 32}" text-anchor="end" font-size="11">{most:,}</text>',
        f'<path class="a" d="M{LEFT} {base}H{WIDTH - 20}"/>', *hours,
        f'<path class="s" stroke-width="1.5" d="{line(2)}"/>', f'<path class="r" stroke-width="1.5" d="{line(1)}"/>',
    ]  # fmt: skip
