"""Makes the fonts of ``pipeline/assets/`` that labels are written with.

    python packaging/fonts/build.py letters DejaVuSans.ttf
    python packaging/fonts/build.py east-asian DroidSansFallbackFull.ttf
    python packaging/fonts/build.py korean noto-sans-kr-korean-400-normal.woff
    python packaging/fonts/build.py emoji noto-emoji-[0-9]*-400-normal.woff

The first two files are in Debian's packages fonts-dejavu-core 2.37 and fonts-droid-fallback
6.0.1r16, the others in the npm packages @fontsource/noto-sans-kr and @fontsource/noto-emoji 5.3.2.
NOTICE says under which licences. Needs fonttools, which the development extra brings. What is made
depends on these files alone, to the byte.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

from fontTools.merge import Merger
from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

ASSETS = Path(__file__).resolve().parents[2] / "pipeline" / "assets"


def everything() -> set[int]:
    """All characters that Unicode has room for."""
    return set(range(sys.maxunicode + 1))


def east_asian() -> set[int]:
    """What is common in Chinese and Japanese, and Korean's Chinese characters.

    The characters of GB 2312, JIS X 0208, Big5 (level 1) and KS X 1001 from U+2E80 on: simplified
    and traditional Chinese, kanji and kana, wide forms.
    """
    return {number for number in _encoded() if not _is_hangul(number)}


def korean() -> set[int]:
    """The Hangul of KS X 1001: the 2,350 common syllables, and single letters."""
    return {number for number in _encoded() if _is_hangul(number)}


def _is_hangul(number: int) -> bool:
    return 0xAC00 <= number <= 0xD7A3 or 0x3131 <= number <= 0x318E


def _encoded() -> set[int]:
    """What the encodings of East Asia hold from U+2E80 on."""
    found: set[int] = set()
    for encoding in ("gb2312", "euc_jp", "big5", "euc_kr"):
        for first in range(0xA1, 0xFF):
            # The rest of Big5, from C9 on, is seldom written.
            if encoding == "big5" and first > 0xC6:
                continue
            for second in (*range(0x40, 0x7F), *range(0xA1, 0xFF)):
                letter = bytes((first, second)).decode(encoding, "ignore")
                if len(letter) == 1 and ord(letter) >= 0x2E80:
                    found.add(ord(letter))
    return found


def subset(path: Path, characters: Iterable[int]) -> TTFont:
    """A font with these characters only, without hints, kerning and shaping."""
    options = Options()
    options.layout_features = []
    options.hinting = False
    options.notdef_outline = True  # what is drawn for a missing letter tells that it is missing
    options.name_IDs = [0, 1, 2, 3, 4, 5, 6, 7, 13, 14]
    options.drop_tables += ["GSUB", "GPOS", "GDEF", "FFTM", "DSIG", "vhea", "vmtx", "kern", "STAT"]
    font = TTFont(path, recalcTimestamp=False)
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=characters)
    subsetter.subset(font)
    font.flavor = None
    return font


def emoji(paths: list[Path]) -> TTFont:
    """The slices of the emoji font as one."""
    slices = []
    for path in sorted(paths):
        part = path.with_suffix(".ttf")
        subset(path, everything()).save(part)
        slices.append(str(part))
    whole = Merger().merge(slices)
    whole["head"].created = whole["head"].modified = TTFont(slices[0])["head"].created
    return whole


def main() -> None:
    """Make one of the fonts."""
    kind, paths = sys.argv[1], [Path(name) for name in sys.argv[2:]]
    if kind == "emoji":
        font = emoji(paths)
    else:
        wanted = {"letters": everything, "east-asian": east_asian, "korean": korean}[kind]
        font = subset(paths[0], wanted())
    font.recalcTimestamp = False
    path = ASSETS / f"label-{kind}.ttf"
    font.save(path)
    print(path, path.stat().st_size, len(font.getBestCmap()))


if __name__ == "__main__":
    main()
