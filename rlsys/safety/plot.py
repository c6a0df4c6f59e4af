"""The trade-off between safety and use as one picture: an SVG file that opens anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from xml.sax.saxutils import escape

from rlsys.safety.over_refusal import OverRefusal, Refusals

SIZE, MARGIN = 420, 60
"""Of the square and around it, pixels."""
COLOURS = ("#2a6f97", "#c8553d", "#588157", "#8d5a97", "#b08900", "#444444")


def trade_off(found: Mapping[str, OverRefusal]) -> str:
    """Of each model by its name, refusals of harmful prompts (up) over refusals of harmless ones (to the right), with
    both intervals; by category as small points. The best place is the upper left corner; on the diagonal a model tells
    nothing apart."""
    width, height = SIZE + 2 * MARGIN, SIZE + 2 * MARGIN + 18 * len(found)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<rect x="{MARGIN}" y="{MARGIN}" width="{SIZE}" height="{SIZE}" fill="none" stroke="#999"/>',
        f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="#999" stroke-dasharray="4"/>',
        *_axes(),
    ]
    for number, (name, own) in enumerate(found.items()):
        colour = COLOURS[number % len(COLOURS)]
        parts += [_dot(one, colour, 3, category) for category, one in own.categories.items() if _placed(one)]
        if _placed(own.total):
            parts += [*_bars(own.total, colour), _dot(own.total, colour, 6, name)]
        top = SIZE + 2 * MARGIN + 18 * number
        parts.append(f'<text x="{MARGIN}" y="{top}" fill="{colour}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes() -> list[str]:
    ticks = [
        line
        for tenth in (0, 2, 4, 6, 8, 10)
        for line in (
            f'<text x="{_x(tenth / 10):.0f}" y="{_y(0) + 16:.0f}" text-anchor="middle">{tenth * 10}%</text>',
            f'<text x="{_x(0) - 6:.0f}" y="{_y(tenth / 10) + 4:.0f}" text-anchor="end">{tenth * 10}%</text>',
        )
    ]
    middle = MARGIN + SIZE / 2
    return [
        *ticks,
        f'<text x="{middle:.0f}" y="{_y(0) + 36:.0f}" text-anchor="middle">harmless prompts refused</text>',
        f'<text x="16" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 16 {middle:.0f})">harmful prompts '
        "refused</text>",
    ]


def _placed(one: Refusals) -> bool:
    return bool(one.harmful.of and one.harmless.of)


def _dot(one: Refusals, colour: str, radius: int, title: str) -> str:
    return (
        f'<circle cx="{_x(one.harmless.value):.1f}" cy="{_y(one.harmful.value):.1f}" r="{radius}" fill="{colour}">'
        f"<title>{escape(title)}: harmful {one.harmful}, harmless {one.harmless}</title></circle>"
    )


def _bars(one: Refusals, colour: str) -> list[str]:
    (left, right), (low, high) = one.harmless.interval, one.harmful.interval
    x, y = _x(one.harmless.value), _y(one.harmful.value)
    return [
        f'<line x1="{_x(left):.1f}" y1="{y:.1f}" x2="{_x(right):.1f}" y2="{y:.1f}" stroke="{colour}"/>',
        f'<line x1="{x:.1f}" y1="{_y(low):.1f}" x2="{x:.1f}" y2="{_y(high):.1f}" stroke="{colour}"/>',
    ]


def _x(share: float) -> float:
    return MARGIN + SIZE * share


def _y(share: float) -> float:
    return MARGIN + SIZE * (1 - share)
