"""One artifact on this machine and on other devices, in turns: does the way to a device cost anything?

    python benchmarks/device_pairs.py ARTIFACT ssh://HOST?python=PATH browser://chromium

Five pairs of turns for each device, local first and second by turns. Writes benchmarks/results/device_pairs.json.
"""

import argparse
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from contention_records import DevicePair, DevicePairsStudy

from mlkdc.bench.devices import short_name
from mlkdc.bench.ratios import speedup
from mlkdc.devices import Device, Load, LocalDevice, Subject
from mlkdc.devices.urls import device_at
from mlkdc.records.bench import LOCAL
from mlkdc.records.manifest import Manifest
from mlkdc.runtime.machine import machine

RESULTS = Path(__file__).parent / "results"
PAIRS = 5
LOAD = Load(threads=1)


def pair(other: Device, subject: Subject) -> DevicePair:
    """Turns on both, one after the other."""
    with LocalDevice() as local, other:
        local.open()
        other.open()
        here, there = [], []
        for number in range(PAIRS):
            if number % 2:
                there.append(other.turn(subject, LOAD))
            here.append(local.turn(subject, LOAD))
            if number % 2 == 0:
                there.append(other.turn(subject, LOAD))
    found = speedup(LOCAL, here, there)
    assert found is not None
    return DevicePair(
        device=short_name(other.name),
        provider=other.provider(subject),
        local_ms=median([turn.median_ms for turn in here]),
        device_ms=median([turn.median_ms for turn in there]),
        speedup=found,
    )


def main() -> None:
    """Measure and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("devices", nargs="+")
    options = parser.parse_args()
    manifest = Manifest.load(options.artifact)
    subject = Subject(options.artifact, manifest)
    pairs = [pair(device_at(url, say=print), subject) for url in options.devices]
    DevicePairsStudy(
        when=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        artifact=f"{manifest.key} at {manifest.image_size} px",
        machine=machine(),
        pairs=tuple(pairs),
    ).save(RESULTS)


if __name__ == "__main__":
    main()
