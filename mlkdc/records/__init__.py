"""Typed records of the files that commands write and read: the only code that knows their names and keys.

Units are in the names (``median_ms``, ``size_bytes``, ``map_percent``). A *drop* is in percentage points and positive
where the artifact is worse than the model it was made from.
"""
