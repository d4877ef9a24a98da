"""Typed records of the files that commands write and read: the only code that knows their names and keys."""
