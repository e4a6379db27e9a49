"""How wide a text is in the font that our pictures bring along, and texts that fit a width."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

# Advance widths of DejaVu Sans, thousandths of the font size, from the space to the tilde.
_WIDTHS = (
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636,
    636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632,
    575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685,
    611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579,
    278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
)  # fmt: skip
_OTHER = 700
_BOLD = 1.12
LINE = 1.3  # from one line of text to the next, over the font size


def text_width(text: str, size: float, bold: bool = False) -> float:
    """Return the width of ``text`` in the unit of ``size``, the font size."""
    codes = (ord(letter) - 32 for letter in text)
    thousandths = sum(_WIDTHS[c] if 0 <= c < len(_WIDTHS) else _OTHER for c in codes)
    return thousandths / 1000 * size * (_BOLD if bold else 1.0)


def printable(text: str) -> str:
    """Return ``text`` on one line, without what cannot be drawn."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def shortened(text: str, max_letters: int) -> str:
    """Return ``text`` with at most ``max_letters`` letters, an ellipsis where some are missing."""
    line = printable(text)
    return line if len(line) <= max_letters else line[: max_letters - 1] + "…"


def wrapped(
    text: str, width: float, size: float, *, max_lines: int, bold: bool = False
) -> list[str]:
    """Return ``text`` on lines of at most ``width``; a longer word stands alone, and sticks out."""

    def fits(line: str) -> bool:
        return text_width(line, size, bold) <= width

    lines: list[str] = []
    for word in printable(text).split():
        if lines and fits(f"{lines[-1]} {word}"):
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    if len(lines) <= max_lines:
        return lines

    # What does not fit becomes an ellipsis.
    last = lines[max_lines - 1].split()
    while last and not fits(" ".join([*last, "…"])):
        last.pop()
    return [*lines[: max_lines - 1], " ".join([*last, "…"])]


def joined(parts: Iterable[str], max_letters: int) -> list[str]:
    """Return ``parts`` joined by middle dots, on lines of ``max_letters`` where they allow it."""
    lines: list[str] = []
    for part in filter(None, map(printable, parts)):
        if lines and len(lines[-1]) + len(part) + 3 <= max_letters:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return lines


def block_size(lines: Sequence[str], size: float, bold: bool = False) -> tuple[float, float]:
    """Return width and height of several lines of text."""
    width = max((text_width(line, size, bold) for line in lines), default=0.0)
    return width, len(lines) * size * LINE
