"""What a loss compares the student with, one file for each family; every source is registered under its name."""

from mlkdc.train.sources.base import (
    SOURCES,
    Drawn,
    Source,
    SourceContext,
    SourceNeeds,
    Step,
    check_sources,
    make_sources,
    repeats_images,
)
from mlkdc.train.sources.teacher import TeacherSource

__all__ = [
    "SOURCES",
    "Drawn",
    "Source",
    "SourceContext",
    "SourceNeeds",
    "Step",
    "TeacherSource",
    "check_sources",
    "make_sources",
    "repeats_images",
]
