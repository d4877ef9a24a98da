"""Devices by names that are short and still tell them apart."""

from collections import Counter

from mlkdc.records.bench import BenchFile


def short_name(device: str) -> str:
    """A device without how it is measured: ``ssh://pi@kitchen`` of ``ssh://pi@kitchen?python=/opt/python3``."""
    return device.partition("?")[0]


def short_names(figures: BenchFile) -> dict[str, str]:
    """The short name of each device that was measured or lost; the whole name where two differ in the rest only."""
    devices = dict.fromkeys([*figures.devices, *(row.device for row in figures.rows)])
    devices.update(dict.fromkeys(lost.device for lost in figures.lost))
    times = Counter(short_name(device) for device in devices)
    names = {}
    for device in devices:
        short = short_name(device)
        names[device] = short if times[short] == 1 else device
    return names
