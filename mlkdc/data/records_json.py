"""Records as JSON, one object a line or a list of objects, as the rows of a table."""

import json
from collections.abc import Iterator
from pathlib import Path

from mlkdc.errors import UsageError

#: The suffix of a file with a list; others have an object a line.
LIST = ".json"


def record_rows(file: Path, text: str) -> tuple[tuple[str, ...], list[tuple[int, list[str]]]]:
    """The header and the rows, with line numbers, or numbers from 1 in a list.

    Lists stay JSON in their cell; null is empty, true 1 and false 0.

    Raises:
        UsageError: not well-formed JSON, or something else than objects.
    """
    records = list(_in_list(file, text) if file.suffix.lower() == LIST else _in_lines(file, text))
    header: dict[str, None] = {}
    for _, record in records:
        header.update(dict.fromkeys(record))
    rows = [(number, [_cell(record.get(name)) for name in header]) for number, record in records]
    return tuple(name.strip() for name in header), rows


def first_record(head: str) -> str:
    """The first object of the text that a file begins with; of a list, a list of it. Empty where there is none."""
    head = head.lstrip()
    if not head.startswith("["):
        return head.partition("\n")[0]
    start = head.find("{")
    if start < 0 or head[1:start].strip():
        return ""
    try:
        _, end = json.JSONDecoder().raw_decode(head, start)
    except ValueError:
        return ""
    return f"[{head[start:end]}]"


def _in_lines(file: Path, text: str) -> Iterator[tuple[int, dict[str, object]]]:
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            yield line, _object(f"{file} line {line}", _parsed(f"{file} line {line}", content))


def _in_list(file: Path, text: str) -> Iterator[tuple[int, dict[str, object]]]:
    content = _parsed(str(file), text) if text else []
    if not isinstance(content, list):
        raise UsageError(f"{file}: expected a list of objects, got {str(content)[:40]!r}")
    for number, item in enumerate(content, start=1):
        yield number, _object(f"{file}: entry {number}", item)


def _object(where: str, content: object) -> dict[str, object]:
    if not isinstance(content, dict):
        raise UsageError(f"{where}: expected a JSON object with a key 'image', got {str(content)[:40]!r}")
    return content


def _parsed(where: str, text: str) -> object:
    try:
        content: object = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: not well-formed JSON ({error})") from None
    return content


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object; of a key that is there twice, nobody knows which value is meant."""
    record = dict(pairs)
    if len(record) < len(pairs):
        raise ValueError(f"a key is there twice, of {', '.join(key for key, _ in pairs)}")
    return record


def _cell(value: object) -> str:
    # As Hugging Face writes an image that is a file.
    if isinstance(value, dict) and isinstance(value.get("path"), str):
        value = value["path"]
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, str):
        return value.strip()
    return json.dumps(value, ensure_ascii=False)
