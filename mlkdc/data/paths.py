"""Image paths that do not lead to a file as they are written: another spelling, another root.

Spelling is fixed image by image: backslashes, ``file://``, another case, composed or decomposed accents, a missing
suffix. Images are looked for elsewhere only where the folder that a path names is not there, as on another machine, or
where not one image is where the labels say.
"""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from mlkdc.data.files import images_below
from mlkdc.data.splits import SPLIT_WORDS
from mlkdc.data.text import WINDOWS, is_text
from mlkdc.errors import UsageError
from mlkdc.figures import first_few
from mlkdc.images import image_suffixes
from mlkdc.types import Sample, TaggedImages

#: Spellings of one suffix.
_JPEG = (".jpg", ".jpeg", ".jpe", ".jfif")
#: What Label Studio puts before the names of uploaded files.
_UPLOAD = re.compile(r"[0-9a-f]{8}-(?=.)")
#: An image's number, as a program writes that took names for numbers.
_NUMBER = re.compile(r"0*(\d+)(\.0+)?")
SHOWN_PLACES = 3


def key(name: str) -> str:
    """A file name without case, kind of accents and suffix of an image."""
    if not is_text(name):  # unpacked from an archive that Windows wrote
        name = os.fsencode(name).decode(WINDOWS, errors="replace")
    folded = unicodedata.normalize("NFC", name).casefold()
    stem, suffix = os.path.splitext(folded)
    return stem if suffix in image_suffixes() else folded


def same_suffix(written: str, stored: str) -> bool:
    """Whether a file's name can be meant: the suffix is missing, or the same in another spelling."""
    first = os.path.splitext(written)[1].lower()
    second = os.path.splitext(stored)[1].lower()
    return first not in image_suffixes() or first == second or (first in _JPEG and second in _JPEG)


class _Folders:
    """What lies in folders, looked up once each."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}
        self._by_key: dict[str, dict[str, list[str]]] = {}

    def names(self, folder: str) -> frozenset[str]:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder))
            except OSError:
                self._names[folder] = frozenset()
        return self._names[folder]

    def has(self, path: str) -> bool:
        folder, name = os.path.split(path)
        return name in self.names(folder)

    def only(self, folder: str, name: str) -> str | None:
        """The only entry of a folder that can be meant by a name."""
        if folder not in self._by_key:
            by_key: dict[str, list[str]] = defaultdict(list)
            for entry in sorted(self.names(folder)):
                by_key[key(entry)].append(entry)
            self._by_key[folder] = by_key
        fitting = [entry for entry in self._by_key[folder].get(key(name), ()) if same_suffix(name, entry)]
        if len(fitting) != 1:
            return None
        return fitting[0]

    def find(self, path: str) -> str | None:
        """A path that exists, spelled as on disk; None where there is none or more than one."""
        if self.has(path):
            return path
        folder, name = os.path.split(path)
        if folder == path:
            return None
        stored = folder if os.path.isdir(folder) else self.find(folder)
        if stored is None:
            return None
        entry = self.only(stored, name)
        if entry is None:
            return None
        return os.path.join(stored, entry)


def _tidy(path: str) -> str:
    """Slashes for backslashes; a ``file:`` address as the path it names."""
    path = path.replace("\\", "/")
    _, colon, local = path.partition("file:/")
    if colon:
        path = "/" + unquote(local).lstrip("/").removeprefix("localhost/")
    return os.path.normpath(path)


def resolve(data: TaggedImages, images: str | None = None) -> TaggedImages:
    """The same data with the paths of files that exist, as far as they are found; what was done is noted.

    Args:
        data: as a reader returned it.
        images: the folder to find the images in, whatever the paths say; None looks where they say first.

    Raises:
        UsageError: ``images`` is no folder, or no file can be called as a path says.
    """
    _check_names(data)
    if images is not None:
        return _found_below(data, range(len(data.samples)), _folder(images))
    folders = _Folders()
    samples, respelled, missing, astray = list(data.samples), [], [], []
    for at, sample in enumerate(data.samples):
        written = os.path.normpath(sample.image)
        found, meant = _look(folders, written, _tidy(str(sample.image)))
        if found is None:
            missing.append(at)
            if "file:/" in str(sample.image):
                samples[at] = replace(sample, image=Path(meant))
            if folders.find(os.path.dirname(meant)) is None:
                astray.append(at)
            continue
        if found != written:
            respelled.append(f"{sample.image.name} is {os.path.basename(found)}")
        samples[at] = replace(sample, image=Path(found))
    notes = data.notes
    if respelled:
        notes += (f"{len(respelled)} of {len(samples)} image paths are spelled otherwise on disk: {respelled[0]}",)
    data = replace(data, samples=tuple(samples), notes=notes)
    if len(missing) == len(samples):
        return _found_below(data, missing, _base(data))
    return _found_below(data, astray, _base(data))


def _check_names(data: TaggedImages) -> None:
    for sample in data.samples:
        if not _is_possible(sample.image):
            raise UsageError(
                f"{data.root}: read as {data.layout!r}, an image has the path {str(sample.image)[-80:]!r}, which no "
                "file can have; correct it"
            )


def _is_possible(path: Path) -> bool:
    """Whether a file can be called so: without zero bytes, and in characters that the system can write."""
    try:
        return b"\0" not in os.fsencode(path)
    except UnicodeEncodeError:
        return False


def _look(folders: _Folders, written: str, tidy: str) -> tuple[str | None, str]:
    """The file that a path leads to, if any, and the path as it is meant."""
    if folders.has(written):
        return written, written
    found = folders.find(tidy)
    if found is None and "%" in tidy:
        tidy = unquote(tidy)
        found = folders.find(tidy)
    if found is None and "?" in tidy:  # of a web address
        found = folders.find(tidy.partition("?")[0])
    return found, tidy


def _folder(images: str) -> Path:
    folder = Path(os.path.abspath(Path(images).expanduser()))
    if not folder.is_dir():
        raise UsageError(f"data.images={images}: no such folder; give the one that the images are in")
    return folder


def _base(data: TaggedImages) -> Path:
    """The folder that the data lie in."""
    if data.root.is_dir():
        return data.root
    if data.root.parent.name == "annotations":
        return data.root.parent.parent
    return data.root.parent


def _found_below(data: TaggedImages, which: Sequence[int], base: Path) -> TaggedImages:
    """The data with those of the images that are found below a folder by the ends of their paths."""
    if not which:
        return data
    by_key: dict[str, list[Path]] = defaultdict(list)
    for file in images_below(base):
        by_key[key(file.name)].append(file)
    samples, missing = list(data.samples), []
    places, unclear, uploads = Counter[str](), Counter[str](), 0
    for at in which:
        best = _best(samples[at], by_key, base)
        if len(best) == 1:
            uploads += _is_upload(samples[at].image) and not _is_upload(best[0])
            samples[at] = replace(samples[at], image=best[0])
            places[_shown(best[0].parent, base)] += 1
            continue
        missing.append(at)
        unclear.update(_shown(file.parent, base) for file in best)
    notes = data.notes
    if places:
        where = first_few(places, SHOWN_PLACES)
        notes += (f"{places.total()} of {len(samples)} images are not where the labels say and were found in {where}",)
    if uploads:
        notes += (f"{uploads} of these were found without what Label Studio puts before names (such as 0a1b2c3d-)",)
    if missing:
        example = samples[missing[0]].image
        advice = _advice(example, unclear, by_key, base)
        notes += (f"{len(missing)} of {len(samples)} images are missing, such as {example}; {advice}",)
    return replace(data, samples=tuple(samples), notes=notes)


def _is_upload(image: Path) -> bool:
    return _UPLOAD.match(image.name) is not None


def _shown(folder: Path, base: Path) -> str:
    relative = os.path.relpath(folder, base)
    return f"{Path(relative).as_posix()}/"


def _best(sample: Sample, by_key: dict[str, list[Path]], base: Path) -> list[Path]:
    """The files with an image's name whose folders agree best with its path, then with its split."""
    written = unquote(_tidy(str(sample.image)))
    name = os.path.basename(written)
    if key(name) not in by_key:  # of a web address
        name = name.partition("?")[0]
    if key(name) not in by_key:
        name = _UPLOAD.sub("", name, count=1)
    files = [file for file in by_key.get(key(name), ()) if same_suffix(name, file.name)]
    if len(files) < 2:
        return files
    files = _most(files, [_common_end(written, file) for file in files])
    in_split = []
    for file in files:
        words = [SPLIT_WORDS.get(part.lower()) for part in file.relative_to(base).parts[:-1]]
        in_split.append(int(sample.split in words))
    return _most(files, in_split)


def _most(files: Sequence[Path], points: Sequence[int]) -> list[Path]:
    highest = max(points)
    return [file for file, point in zip(files, points, strict=True) if point == highest]


def _common_end(written: str, file: Path) -> int:
    """How many folders above the file are called as in the path."""
    count = 0
    for first, second in zip(reversed(Path(written).parts[:-1]), reversed(file.parts[:-1]), strict=False):
        if key(first) != key(second):
            break
        count += 1
    return count


def _advice(example: Path, unclear: Counter[str], by_key: Mapping[str, list[Path]], base: Path) -> str:
    if unclear:
        folders = sorted(unclear)
        shown = ", ".join(folders[:4])
        return f"files of these names are in {shown}: choose with `--set data.images={base / folders[0]}`"
    if os.path.isdir(example.parent) and not os.access(example.parent, os.R_OK | os.X_OK):
        return "their folder may not be read; check its permissions"
    if any(scheme in str(example) for scheme in ("http:/", "https:/", "s3:/", "gs:/")):
        return "they are web addresses: download them, and give their folder with `--set data.images=FOLDER`"
    if others := by_key.get(key(example.name)):
        return f"{others[0].name} is there: if that is the image, correct the suffix in the labels"
    if numbered := _of_number(example.name, by_key):
        return f"{numbered.name} is there: if that is the image, write its name (a program has read names as numbers)"
    return "no file below has such a name; give their folder with `--set data.images=FOLDER`"


def _of_number(name: str, by_key: Mapping[str, list[Path]]) -> Path | None:
    """The only file whose name is the same number: 000001.jpg for 1 or 1.0."""
    written = _NUMBER.fullmatch(key(name))
    if written is None:
        return None
    fitting = []
    for stored, files in by_key.items():
        number = _NUMBER.fullmatch(stored)
        if number is not None and number[1] == written[1]:
            fitting += files
    return fitting[0] if len(fitting) == 1 else None
