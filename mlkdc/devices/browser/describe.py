"""What a browser says of itself, in the words of bench.json, and what limits its figures."""

import re

from mlkdc.devices.browser.messages import Accelerator, Facts
from mlkdc.records.bench import DeviceInfo
from mlkdc.records.machine import Machine

#: The most telling name of a user agent first: all of them also name others'.
_BROWSERS = (
    ("Edge", r"Edg\w*/([\d.]+)"),
    ("Firefox", r"Firefox/([\d.]+)"),
    ("Chromium", r"(?:Headless)?Chrome/([\d.]+)"),
    ("Safari", r"Version/([\d.]+).*Safari/"),
)
NOT_SECURE = "plain http from another machine is not a secure context: one thread, no WebGPU, a coarse clock"
SECURE = (
    "open the page as localhost there (on a phone: --device browser+adb://SERIAL), or by https through a proxy of yours"
)
NOT_ISOLATED = "the page is not cross-origin isolated: one thread"


def describe(url: str, facts: Facts, accelerator: Accelerator, runtimes: dict[str, str]) -> DeviceInfo:
    """The device's record.

    Args:
        runtimes: their versions by name.
    """
    return DeviceInfo(
        url=url,
        machine=Machine(
            cpu=facts.model or facts.architecture or "not named by the browser",
            cores=facts.cores,
            memory_gib=facts.memory_gib,
            system=facts.platform or facts.user_agent,
            device="cpu" if accelerator == "wasm" else "webgpu",
        ),
        versions={**_browser(facts), **runtimes},
        notes=tuple(_notes(facts, accelerator)),
    )


def limits(facts: Facts, accelerator: Accelerator, threads: int) -> str | None:
    """Why the page cannot run an artifact in that way; None where it can."""
    if threads > 1 and not facts.isolated:
        why = f"{NOT_ISOLATED}; try another browser" if facts.secure else f"{NOT_SECURE}; {SECURE}"
        return f"{threads} threads were asked for, and {why}, or use --threads 1"
    if accelerator == "webgpu" and facts.adapter is None:
        why = "the browser has no WebGPU adapter" if facts.secure else f"{NOT_SECURE}; {SECURE}"
        return f"WebGPU was asked for, and {why}"
    return None


def _notes(facts: Facts, accelerator: Accelerator) -> list[str]:
    notes = ["a browser says nothing of the speed of an app on the same machine"]
    notes.append(f"run by LiteRT.js (litert) and onnxruntime-web (onnx) on {accelerator}")
    notes.append(f"browser: {facts.user_agent}")
    if not facts.secure:
        notes.append(NOT_SECURE)
    elif not facts.isolated:
        notes.append(NOT_ISOLATED)
    notes.append(f"clock: steps of {1000 * facts.clock_step_ms:.0f} us")
    if accelerator == "webgpu" and facts.adapter:
        notes.append(f"WebGPU adapter: {facts.adapter}")
    return notes


def _browser(facts: Facts) -> dict[str, str]:
    if facts.browser:
        name, _, version = facts.browser.rpartition(" ")
        return {name: version}
    for name, pattern in _BROWSERS:
        match = re.search(pattern, facts.user_agent)
        if match:
            return {name: match[1]}
    return {}
