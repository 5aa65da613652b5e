"""The font of figures, and its letters on a page."""

from __future__ import annotations

import base64
import html
import io
import re
import zlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import matplotlib
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont
from matplotlib import font_manager

from covsvc.files import write

FAMILY = "Figure Sans"
"""Name of the font: one that no machine has, so that all draw the same letters."""

FILES = {400: "DejaVuSans.ttf", 700: "DejaVuSans-Bold.ttf"}
"""The file of each weight; matplotlib brings both."""

LETTERS = ((0x20, 0x24F), (0x370, 0x45F), (0x2010, 0x20AC), (0x2190, 0x22FF))
"""Latin, Greek, Cyrillic, punctuation, arrows and mathematics: with all letters a PDF would take twice the time. Pairs
are kerned still; other letters come from DejaVu Sans."""

NAMES = (1, 3, 4, 6, 16)
"""Names in a font that change with it: family, identifier, full name, PostScript name, typographic family."""

_TEXT = re.compile(r"<text\b([^>]*)>(.*?)</text>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_BOLD = re.compile(r"font(?:-weight)?:\s*(?:bold|[6-9]00)")


def font_face(texts: Iterable[str]) -> str:
    """Return the CSS that gives a page the letters of its figures, as few as there are.

    Parameters
    ----------
    texts : iterable of str
        The figures as svg elements, as `inline` returns them, or pages that hold such.

    Returns
    -------
    str
        A rule a weight, of the family `FAMILY`; empty where no figure has letters.
    """
    letters: dict[int, set[str]] = {weight: set() for weight in FILES}
    for text in texts:
        for attributes, content in _TEXT.findall(text):
            weight = 700 if _BOLD.search(attributes + content) else 400
            letters[weight] |= set(html.unescape(_TAG.sub("", content)))
    return "\n".join(
        f'@font-face {{ font-family: "{FAMILY}"; font-weight: {weight}; '
        f'src: url(data:font/woff;base64,{_subset(weight, "".join(sorted(found)))}) format("woff"); }}'
        for weight, found in letters.items()
        if found
    )


def register() -> str:
    """Make the font known to matplotlib and return its family."""
    for weight in FILES:
        _file(weight)
    return FAMILY


@cache
def _file(weight: int) -> Path:
    """Return the path of the font of a weight, made once in matplotlib's cache."""
    recipe = zlib.crc32(repr((matplotlib.__version__, LETTERS, NAMES)).encode())
    path = Path(matplotlib.get_cachedir()) / f"figure-sans-{weight}-{recipe:08x}.ttf"
    if not path.exists():
        with _opened(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / FILES[weight]) as font:
            for record in font["name"].names:
                if record.nameID in NAMES:
                    record.string = re.sub("DejaVu( ?)Sans", r"Figure\1Sans", str(record))
            unicodes = [code for first, last in LETTERS for code in range(first, last + 1)]
            write(path, _cut(font, Options(hinting=False, layout_features=[], legacy_kern=True), unicodes))
    font_manager.fontManager.addfont(path)
    return path


@cache
def _subset(weight: int, letters: str) -> str:
    """Return the font with these letters only, as WOFF in base64; letters that it has not are left out."""
    with _opened(_file(weight)) as font:
        content = _cut(font, Options(hinting=False, flavor="woff"), [ord(letter) for letter in letters])
    return base64.b64encode(content).decode()


def _cut(font: TTFont, options: Options, unicodes: list[int]) -> bytes:
    """Return a font with some letters only."""
    options.drop_tables += ["FFTM", "MATH"]
    options.notdef_outline = True
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=unicodes)
    subsetter.subset(font)
    font.flavor = options.flavor
    buffer = io.BytesIO()
    font.save(buffer)
    return buffer.getvalue()


def _opened(path: Path) -> TTFont:
    # with the time of now in it no two pages would be the same
    return TTFont(path, recalcTimestamp=False, lazy=True)
