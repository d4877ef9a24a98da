"""The text of files as people's programs write them: UTF-8 with or without a mark, UTF-16, Windows' code page."""

import codecs
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from mlkdc.errors import UsageError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    # Before UTF-16, whose mark this one begins with.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_NO_TEXT = (
    (b"PK\x03\x04", "a zip file or an Excel workbook"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook"),
    (b"\x1f\x8b", "a gzip file"),
    (b"PAR1", "a Parquet file"),
)
WINDOWS = "cp1252"
#: Soft hyphen, zero-width space, word joiner, byte order mark; joiners are part of some scripts and emoji.
_NO_WIDTH = dict.fromkeys((0xAD, 0x200B, 0x2060, 0xFEFF))


@dataclass(frozen=True)
class Text:
    """A file's text without a mark, and in which encoding it was."""

    content: str
    encoding: str


def read_bytes(path: Path) -> bytes:
    """A file's bytes.

    Raises:
        UsageError: missing, or may not be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file, but this layout needs it") from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from None


def read_any(path: Path) -> Text:
    """A file's text, whatever it is encoded in. What is neither UTF-8 nor UTF-16 is taken for Windows' code page 1252.

    Raises:
        UsageError: missing, may not be read, or not text.
    """
    content = read_bytes(path)
    for start, what in _NO_TEXT:
        if content.startswith(start):
            raise UsageError(f"{path} is {what} and not text; save it as CSV (UTF-8)")
    encoding = _encoding(content)
    try:
        return Text(content.decode(encoding), encoding)
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not text in {encoding} ({error}); save it as UTF-8") from None


def read_head(path: Path, size: int = 1 << 16) -> str:
    """The text that a file begins with, for a look at its header; empty where it cannot be read."""
    try:
        with path.open("rb") as stream:
            content = stream.read(size)
    except OSError:
        return ""
    if content.startswith(tuple(start for start, _ in _NO_TEXT)):
        return ""
    # The last character may be cut in two.
    decoder = codecs.getincrementaldecoder(_encoding(content, cut=True))(errors="replace")
    return decoder.decode(content)


def _encoding(content: bytes, *, cut: bool = False) -> str:
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return encoding
    head = content[:4096]
    # ASCII characters in UTF-16 have every second byte zero; no other text has zeros.
    if head[1::2].count(0) > len(head) // 5:
        return "utf-16-le"
    if head[0::2].count(0) > len(head) // 5:
        return "utf-16-be"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(content, final=not cut)
    except UnicodeDecodeError:
        return WINDOWS
    return "utf-8"


def is_text(name: str) -> bool:
    """Whether a name, which may be a file's, is valid text: some systems' file names are any bytes."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def clean_label(name: str) -> str:
    """A label on one line: blanks, tabs and line breaks of every kind are one blank, accents are composed.

    classes.txt has one label a line, and what looks like one label must be one: marks without width go.
    """
    return unicodedata.normalize("NFC", " ".join(name.translate(_NO_WIDTH).split()))
