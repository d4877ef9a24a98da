"""The images of a run, listed by name when it begins, and found again whenever its data is read."""

from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from mlkdc.data import EMBEDDED
from mlkdc.data.names import base_folder, content_digest, content_digests, image_name, image_names, size_bytes
from mlkdc.figures import counted, first_few
from mlkdc.records.images import ImageList, ListedImage
from mlkdc.types import OFFICIAL, Sample, TaggedImages

SHOWN_NAMES = 3


def list_images(data: TaggedImages, skipped: Sequence[str] = ()) -> ImageList:
    """The list of a run that begins on this data; reads every file.

    ``skipped``: paths of unreadable images, not in ``data``.
    """
    base = base_folder(data)
    files: list[tuple[int | None, str | None]] = [(None, None)] * len(data.samples)
    # The embedded images are drawn on each machine, and compressed there, so that files differ.
    if data.layout != EMBEDDED:
        paths = [sample.image for sample in data.samples]
        files = list(zip(map(size_bytes, paths), content_digests(paths), strict=True))
    images = []
    for name, sample, (size, content) in zip(image_names(data), data.samples, files, strict=True):
        images.append(
            ListedImage(name=name, split=sample.split, labels=sample.labels, size_bytes=size, content=content)
        )
    return ImageList(
        folder=str(base),
        split_from=data.split_from,
        skipped=tuple(image_name(base, Path(path)) for path in skipped),
        images=tuple(images),
    )


@dataclass(frozen=True)
class Changes:
    """How data differs from what a run has listed, by names of images.

    Args:
        missing: listed, and not there any more.
        relabeled: with other labels than then.
        replaced: whose file is another one than then.
        added: that are not in the list.
        resplit: that the data says are in another split than then.
    """

    missing: tuple[str, ...] = ()
    relabeled: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    resplit: tuple[str, ...] = ()

    @property
    def of_listed(self) -> str:
        """How the listed images differ, in a clause; empty where they do not."""
        clauses = []
        for names, what in (
            (self.missing, "missing"),
            (self.relabeled, "with other labels"),
            (self.replaced, "whose file has changed"),
        ):
            if names:
                clauses.append(f"{counted(len(names), 'image')} {what} ({first_few(names, SHOWN_NAMES)})")
        return ", ".join(clauses)

    @property
    def of_added(self) -> str:
        """How many images are new, in a clause; empty where none is."""
        if not self.added:
            return ""
        return f"{counted(len(self.added), 'new image')} in no split, not used ({first_few(self.added, SHOWN_NAMES)})"

    @property
    def of_splits(self) -> str:
        """How many images are in other splits, in a clause; empty where none is."""
        if not self.resplit:
            return ""
        images, names = counted(len(self.resplit), "image"), first_few(self.resplit, SHOWN_NAMES)
        return f"{images} in another split, used in the one that the run began with ({names})"

    @property
    def harmless(self) -> str:
        """What differs and does not change the run's images, in a clause; empty where nothing does."""
        return ", ".join(clause for clause in (self.of_splits, self.of_added) if clause)

    @property
    def all(self) -> str:
        """Everything that differs, in a clause; empty where nothing does."""
        return ", ".join(clause for clause in (self.of_listed, self.harmless) if clause)


def as_listed(data: TaggedImages, listed: ImageList, *, read: bool = False) -> tuple[TaggedImages, Changes]:
    """The listed images as they are now, in the order and the splits of the list, and what has changed.

    Args:
        data: with the run's classes in the run's order; its own splits are compared and do not count.
        listed: of the run.
        read: every file, to see whether its content is the same; else its size must do.

    Returns:
        Data without what is missing or new, and the differences.
    """
    waiting: dict[str, deque[Sample]] = defaultdict(deque)
    for name, sample in zip(_names_in(data, listed), data.samples, strict=True):
        waiting[name].append(sample)
    samples: list[Sample] = []
    missing, relabeled, replaced, resplit = [], [], [], []
    for image in listed.images:
        if not waiting[image.name] or _is_lost(waiting[image.name][0], image):
            missing.append(image.name)
            continue
        # An image that is listed twice is there twice.
        sample = waiting[image.name].popleft()
        samples.append(replace(sample, split=image.split))
        if data.split_from == OFFICIAL and sample.split != image.split:
            resplit.append(image.name)
        if sample.labels != image.labels:
            relabeled.append(image.name)
        if not _has_size(sample, image) or (read and not _has_content(sample, image)):
            replaced.append(image.name)
    known = {image.name for image in listed.images} | set(listed.skipped)
    added = [name for name in waiting if name not in known]
    changes = Changes(tuple(missing), tuple(relabeled), tuple(replaced), tuple(added), tuple(resplit))
    return replace(data, samples=tuple(samples), split_from=listed.split_from), changes


def _names_in(data: TaggedImages, listed: ImageList) -> list[str]:
    """What a list calls the images, also where the labels have moved away from them."""
    known = {image.name for image in listed.images} | set(listed.skipped)
    base = Path(listed.folder)
    names = []
    for name, sample in zip(image_names(data), data.samples, strict=True):
        if name not in known:
            before = image_name(base, sample.image)
            if before in known:
                name = before
        names.append(name)
    return names


def _is_lost(sample: Sample, image: ListedImage) -> bool:
    """Whether the file, which was there, is not."""
    return image.size_bytes is not None and size_bytes(sample.image) is None


def _has_size(sample: Sample, image: ListedImage) -> bool:
    return image.size_bytes is None or size_bytes(sample.image) == image.size_bytes


def _has_content(sample: Sample, image: ListedImage) -> bool:
    return image.content is None or content_digest(sample.image) == image.content


def known_splits(data: TaggedImages, listed: ImageList) -> list[str | None]:
    """For each image, the split of a run in which it was; None for one that the run has not seen.

    An image is one of the run's if it is the same file, if it has the same content, or if it has the same name and, as
    names like 0001.jpg are common, also the same size in bytes or the same labels. Where folders have other names than
    they had, size and labels must both be the same, and no other image may have that file name.

    Args:
        data: any, with the run's classes in the run's order.
        listed: of the run.
    """
    names = image_names(data)
    by_name: dict[str, list[ListedImage]] = defaultdict(list)
    for image in listed.images:
        by_name[image.name].append(image)
    by_file_name = _unique_file_names(listed)
    by_content = _ByContent(listed)
    repeated = Counter(PurePosixPath(name).name for name in names)
    base = Path(listed.folder)
    splits: list[str | None] = []
    for name, sample in zip(names, data.samples, strict=True):
        same = [image for image in by_name.get(name, ()) if _has_size(sample, image) or sample.labels == image.labels]
        # The same file may be read from another folder of the data.
        same += by_name.get(image_name(base, sample.image), ())
        same += by_content.of(sample)
        file_name = PurePosixPath(name).name
        moved = by_file_name.get(file_name)
        if moved is not None and repeated[file_name] == 1 and _looks_the_same(sample, moved):
            same.append(moved)
        splits.append(_most_seen(same))
    return splits


class _ByContent:
    """The images of a run by the bytes of their files. Only a file of a size that the run has is read."""

    def __init__(self, listed: ImageList) -> None:
        self._sizes: set[int | None] = set()
        self._images: dict[str, list[ListedImage]] = defaultdict(list)
        for image in listed.images:
            if image.content is not None:
                self._sizes.add(image.size_bytes)
                self._images[image.content].append(image)

    def of(self, sample: Sample) -> list[ListedImage]:
        if size_bytes(sample.image) not in self._sizes:
            return []
        content = content_digest(sample.image)
        if content is None:
            return []
        return self._images.get(content, [])


def _unique_file_names(listed: ImageList) -> dict[str, ListedImage]:
    """The images of a run by the last part of their names, where only one has it."""
    found: dict[str, list[ListedImage]] = defaultdict(list)
    for image in listed.images:
        found[PurePosixPath(image.name).name].append(image)
    return {name: images[0] for name, images in found.items() if len(images) == 1}


def _looks_the_same(sample: Sample, image: ListedImage) -> bool:
    return image.size_bytes is not None and _has_size(sample, image) and sample.labels == image.labels


def _most_seen(images: Sequence[ListedImage]) -> str | None:
    """Of an image that is listed in several splits, the one that a model knows best."""
    splits = {image.split for image in images}
    for split in ("train", "val", "test"):
        if split in splits:
            return split
    return None
