"""Elements of SVG, escaped; colours by role, so that a page may darken them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape

from headway.report.letters import LINE, printable

Point = tuple[float, float]

# Okabe and Ito's colours, told apart by all kinds of colour vision; beyond seven, shapes differ.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555")
SHAPES = ["circle", "square", "diamond", "up", "down", "plus", "cross"]
ROLES = {
    "ink": "#1b1f24",
    "quiet": "#5b636d",
    "grid": "#e6e9ed",
    "front": "#cfd4da",
    "page": "#ffffff",
    **{f"s{i}": colour for i, colour in enumerate(SERIES)},
}
DARK_ROLES = {
    "ink": "#e8eaed",
    "quiet": "#a2abb5",
    "grid": "#2a2f35",
    "front": "#454c54",
    "page": "#14171a",
    **dict(
        zip(
            (f"s{i}" for i in range(7)),
            ("#4ba3dd", "#f0813a", "#2fc198", "#dd95bd", "#8ccff5", "#f0b541", "#b4b9bf"),
            strict=True,
        )
    ),
}


def rules(roles: dict[str, str]) -> str:
    """Return the style rules that give each role its colour."""
    page = roles["page"]
    lines = "".join(f".hw-{role}{{color:{colour}}}" for role, colour in roles.items())
    return f"{lines}.hw-hollow{{fill:{page}}}.hw-halo{{stroke:{page}}}"


def element(name: str, content: str = "", /, **attributes: object) -> str:
    """Return one element; ``_`` in an attribute's name is a hyphen, ``None`` leaves it out."""
    settings = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_value(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{settings}>{content}</{name}>" if content else f"<{name}{settings}/>"


def coloured(role: str, content: str, **attributes: object) -> str:
    """Return a group in whose elements ``currentColor`` is the colour of ``role``."""
    extra = str(attributes.pop("class_", ""))
    names = f"hw-{role} {extra}".rstrip()
    return element("g", content, class_=names, color=ROLES[role], **attributes)


def path(points: Sequence[Point], width: float, **attributes: object) -> str:
    """Return a line through ``points``."""
    corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return element(
        "polyline",
        points=corners,
        fill="none",
        stroke="currentColor",
        stroke_width=width,
        stroke_linejoin="round",
        stroke_linecap="round",
        **attributes,
    )


def text(
    lines: str | Iterable[str],
    at: Point,
    size: float,
    *,
    anchor: str = "start",
    bold: bool = False,
    halo: bool = False,
) -> str:
    """Return lines of text; ``at`` is where the first one's baseline begins (or ends)."""
    x, y = at
    texts = [lines] if isinstance(lines, str) else list(lines)
    spans = "".join(
        element("tspan", escape(printable(line)), x=x, y=y + i * size * LINE)
        for i, line in enumerate(texts)
    )
    halo_settings: dict[str, object] = (
        {"class_": "hw-halo", "stroke": ROLES["page"], "stroke_width": 3, "paint_order": "stroke",
         "stroke_linejoin": "round"}
        if halo else {}
    )  # fmt: skip
    return element(
        "text",
        spans,
        font_size=size,
        fill="currentColor",
        text_anchor=None if anchor == "start" else anchor,
        font_weight="bold" if bold else None,
        **halo_settings,
    )


def marker(shape: str, at: Point, radius: float, **attributes: object) -> str:
    """Return a mark of one of `SHAPES`, or a ``star``, around ``at``."""
    x, y = at
    if shape == "circle":
        return element("circle", cx=x, cy=y, r=radius, **attributes)
    corners = [
        (x + share * radius * math.cos(angle), y + share * radius * math.sin(angle))
        for angle, share in _CORNERS[shape]
    ]
    points = " ".join(f"{px:.1f},{py:.1f}" for px, py in corners)
    return element("polygon", points=points, **attributes)


def _polygon(num_corners: int, turn: float, inner: float = 1.0) -> list[tuple[float, float]]:
    """Return angle and share of the radius of each corner; ``inner`` for every second one."""
    return [
        (turn + 2 * math.pi * i / num_corners, inner if i % 2 else 1.0) for i in range(num_corners)
    ]


_CORNERS = {
    "square": _polygon(4, math.pi / 4),
    "diamond": _polygon(4, 0.0),
    "up": _polygon(3, -math.pi / 2),
    "down": _polygon(3, math.pi / 2),
    "plus": _polygon(8, 0.0, 0.45),
    "cross": _polygon(8, math.pi / 4, 0.45),
    "star": _polygon(10, -math.pi / 2, 0.42),
}


def _value(value: object) -> str:
    return f"{value:.5g}" if isinstance(value, float) else str(value)
