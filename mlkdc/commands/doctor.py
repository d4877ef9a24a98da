"""What this machine can do: `mlkdc doctor`."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlkdc.runtime.base import RUNTIMES
from mlkdc.runtime.machine import machine, versions
from mlkdc.runtime.targets import Target, load_target, target_names

TIMEOUT = 300


def check_machine() -> dict[str, Any]:
    """The machine, versions, and for each target whether it is ready: all of its packages are there and importable."""
    here, targets = machine(), [load_target(name) for name in target_names()]
    # Some packages take seconds to import: each target in a process of its own.
    with ThreadPoolExecutor(here["cores"]) as pool:
        faults = list(pool.map(_fault, targets))
    return {
        "machine": here,
        "versions": versions(("mlkdc", "torch", "torchvision", "timm")),
        "targets": [_row(*each) for each in zip(targets, faults, strict=True)],
    }


def _row(target: Target, fault: str | None) -> dict[str, str]:
    found = versions(target.distributions)
    found.pop("python")
    why = RUNTIMES.get(target.runtime).cannot_run()
    return {
        "target": target.name,
        "state": fault or "ready",
        "precisions": ", ".join(target.precisions),
        "here": "-" if fault else f"export only: {why}" if why else "export and run",
        "versions": ", ".join(f"{package} {number}" for package, number in found.items()),
        "install": target.install if fault else "",
    }


def _fault(target: Target) -> str | None:
    """Which packages are missing, or what Python says when it cannot import them."""
    if missing := target.missing():
        return f"missing {', '.join(missing)}"
    # OpenVINO reports its import over the network unless this package is missing.
    code = f"import sys; sys.modules['openvino_telemetry'] = None; import {', '.join(target.modules())}"
    try:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return f"broken: the import did not end in {TIMEOUT} s"
    if not done.returncode:
        return None
    said = done.stderr.strip().splitlines()
    return f"broken: {said[-1] if said else f'the import ended with code {done.returncode}'}"
