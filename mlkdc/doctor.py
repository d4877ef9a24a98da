"""What this machine can do: `mlkdc doctor`."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlkdc.export.targets import Target, load_target, target_names
from mlkdc.runtime.base import RUNTIMES
from mlkdc.runtime.machine import machine, versions


def check_machine() -> dict[str, Any]:
    """The machine, versions, and for each target whether it is ready: all of its packages are there and importable."""
    targets = [load_target(name) for name in target_names()]
    # Some packages take seconds to import, and some not to come back: each target in processes of its own.
    with ThreadPoolExecutor(machine()["cores"]) as pool:
        rows = list(pool.map(_check, targets))
    return {"machine": machine(), "versions": versions(("mlkdc", "torch", "torchvision", "timm")), "targets": rows}


def _check(target: Target) -> dict[str, str]:
    missing, found = target.missing(), versions(target.distributions)
    found.pop("python")
    fault = f"missing {', '.join(missing)}" if missing else _import_fault(target.modules())
    why = RUNTIMES.get(target.runtime).cannot_run()
    return {
        "target": target.name,
        "state": fault or "ready",
        "precisions": ", ".join(target.precisions),
        "here": "-" if fault else f"export only: {why}" if why else "export and run",
        "versions": ", ".join(f"{package} {number}" for package, number in found.items()),
        "install": target.install if fault else "",
    }


def _import_fault(modules: list[str]) -> str | None:
    """What Python says when it imports them, where it cannot."""
    # OpenVINO reports its import over the network unless this package is missing.
    code = f"import sys; sys.modules['openvino_telemetry'] = None; import {', '.join(modules)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if not done.returncode:
        return None
    said = done.stderr.strip().splitlines()
    return f"broken: {said[-1] if said else f'the import ended with code {done.returncode}'}"
