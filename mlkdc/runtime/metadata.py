"""Does a model file say of itself what its manifest says? Standard library only: this runs on devices too."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from mlkdc.errors import UsageError

# What decides which label an answer is for; the rest is in words, which a later version may choose otherwise.
COMPARED = ("classes", "thresholds", "input", "names")
#: The key of :func:`fingerprint` where a file has a place for a number only.
FINGERPRINT = "fingerprint"
# Of the input, what can be one thing or another; the rest has one value, and a later version may say more.
VARIABLE = ("fit", "order", "resize", "size")


def check_metadata(folder: Path, expected: Mapping[str, str], written: Mapping[str, str]) -> None:
    """Refuse a model whose file and manifest are of two minds about its labels or its input.

    Args:
        folder: of the artifact, for the message.
        expected: by :func:`mlkdc.records.metadata.metadata` of the manifest.
        written: what the file holds; empty where its format has no place for it, or it is of an older version.

    Raises:
        UsageError: they differ; names what, and the first difference.
    """
    for key in COMPARED:
        if key not in expected or key not in written:
            continue
        difference = _difference(key, _parsed(expected[key]), _parsed(written[key]))
        if difference is not None:
            raise _not_its(folder, difference)
    if FINGERPRINT in written and written[FINGERPRINT] != str(fingerprint(expected)):
        raise _not_its(folder, "classes, thresholds, names or the input's description are others")


def fingerprint(values: Mapping[str, str]) -> int:
    """31 bits of what is compared, for a file that has no place for more.

    Args:
        values: by :func:`mlkdc.records.metadata.metadata`.
    """
    said = {key: json.loads(values[key]) for key in COMPARED}
    said["input"] = {key: said["input"][key] for key in VARIABLE}
    said["thresholds"] = [float(threshold) for threshold in said["thresholds"]]
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _not_its(folder: Path, difference: str) -> UsageError:
    return UsageError(
        f"{folder}: the manifest is not that of the model file: {difference}; copy the complete artifact "
        "folder again, or export the run again"
    )


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _difference(key: str, manifest: object, file: object) -> str | None:
    """The first one in words, None where there is none."""
    if isinstance(manifest, list) and isinstance(file, list):
        if len(manifest) != len(file):
            return f"it has {len(manifest)} {key}, the file {len(file)}"
        pairs = {f"entry {place} of {key}": pair for place, pair in enumerate(zip(manifest, file, strict=True), 1)}
    elif isinstance(manifest, dict) and isinstance(file, dict):
        # Another version may have more keys, with values that mean what was always done.
        pairs = {f"{key}.{name}": (manifest[name], file[name]) for name in manifest if name in file}
    else:
        pairs = {key: (manifest, file)}
    for place, (ours, theirs) in pairs.items():
        if ours != theirs:
            return f"{place} is {_shown(ours)} in the manifest and {_shown(theirs)} in the file"
    return None


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if len(text) > 60:
        return f"{text[:60]}..."
    return text
