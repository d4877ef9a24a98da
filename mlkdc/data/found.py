"""What there is instead of a layout that can be read."""

from pathlib import Path

from mlkdc.data.files import entries, images_below


def describe(root: Path) -> str:
    """What is there."""
    if root.is_file():
        return "not an index file of any layout"
    if not any(entries(root)):
        return "an empty folder"
    images = sum(1 for _ in images_below(root))
    if images:
        return f"a folder of {images} images without labels"
    return "a folder with neither images nor labels"
