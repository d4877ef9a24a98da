"""A phone without Python, measured by the user's own programs on it."""

import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from mlkdc.devices.adb.client import Adb
from mlkdc.devices.adb.program import INPUT, INPUTS, MODEL, Printed, Program, failed
from mlkdc.devices.adb.watch import LOOKS, read_looks, watched
from mlkdc.devices.base import Load, Subject
from mlkdc.devices.metadata import check_here
from mlkdc.errors import MlkdcError
from mlkdc.records.bench import Conditions, Turn
from mlkdc.runtime.base import Backend
from mlkdc.runtime.model import Model
from mlkdc.runtime.session import spec_of
from mlkdc.runtime.spec import ModelSpec

#: A slow phone's time for one process.
RUN_SECONDS = 1800.0

# Each image is cut out of one file, since a program reads one input; the outputs follow one another. Not with dd,
# which not every toybox has.
_ANSWERS = """cd {folder} || exit 9
i=0
while [ $i -lt {count} ]; do
tail -c +$((i * {size} + 1)) {inputs} | head -c {size} >{input} || exit 8
rm -f {output}
({command}) >log 2>&1 || {{ code=$?; cat log >&2; exit $code; }}
cat {output} 2>/dev/null
i=$((i + 1))
done"""


class Binaries:
    """Programs on a phone, and the artifacts they can run.

    Args:
        adb: the phone.
        folder: on it, that this may fill.
        programs: on it.
    """

    def __init__(self, adb: Adb, folder: str, programs: Sequence[Program]) -> None:
        self._adb = adb
        self._folder = folder
        self._programs = {program.runtime: program for program in programs}
        self._pushed: dict[Path, str] = {}

    def turn(self, subject: Subject, load: Load) -> Turn:
        """Time an artifact, without what surrounds it. Raises as :meth:`mlkdc.devices.base.Device.turn`."""
        program, place, model = self._ready(subject)
        image = model.random_input()
        self._push(image, f"{place}/{INPUT}")

        def run(command: str) -> Printed:
            script = f"cd {place} || exit 9\n{watched(program.started(command))}"
            done = self._adb.shell(script, seconds=RUN_SECONDS + load.least_seconds)
            return Printed(f"{done.text}\n{done.stderr}", done.code)

        turn = program.time(run, image.shape, load)
        looks = read_looks(self._adb.shell(f"cat {place}/{LOOKS}").text, load.threads)
        conditions = Conditions(waited=looks.waited, cpu_fraction=looks.cpu_fraction, mhz=looks.mhz)
        return turn.model_copy(update={"conditions": conditions})

    def answers(self, subject: Subject, pixels: np.ndarray) -> np.ndarray:
        """Probabilities of images. Raises as :meth:`mlkdc.devices.base.Device.answers`."""
        _, _, model = self._ready(subject)
        return model.predict(pixels)

    def _ready(self, subject: Subject) -> tuple[Program, str, Model]:
        """What runs it, its folder on the phone, and a model whose calls run there."""
        manifest = subject.manifest
        program = self._programs.get(manifest.runtime)
        if program is None:
            able = " and ".join(f"{each.name}: {runtime}" for runtime, each in self._programs.items())
            raise MlkdcError(
                f"no program on the phone runs {manifest.runtime} artifacts (there is {able}); name Python there with "
                "?python=PATH, or use `ssh://` to Termux"
            )
        path = subject.folder.resolve()
        # A program takes one image; several go to the phone at once, and the loop is there.
        spec = replace(spec_of(manifest), dynamic_batch=True)
        if path not in self._pushed:
            check_here(subject)
            place = f"{self._folder}/{len(self._pushed)}"
            self._adb.shell(f"mkdir -p {place}")
            self._adb.push(spec.only_file(path, program.ending), f"{place}/{MODEL}")
            self._pushed[path] = place
        place = self._pushed[path]
        return program, place, Model(spec, _OnPhone(self, program, place, spec))

    def _push(self, content: np.ndarray, target: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / Path(target).name
            path.write_bytes(content.tobytes())
            self._adb.push(path, target)

    def run_images(self, program: Program, place: str, images: np.ndarray) -> bytes:
        """What the program writes for each of them, one after the other."""
        self._push(images, f"{place}/{INPUTS}")
        script = _ANSWERS.format(
            folder=place,
            count=len(images),
            inputs=INPUTS,
            input=INPUT,
            output=program.output,
            size=images[0].nbytes,
            command=program.started(program.answer((1, *images.shape[1:]))),
        )
        done = self._adb.shell(script, seconds=RUN_SECONDS)
        if done.code != 0:
            raise failed(program, Printed(f"{done.text}\n{done.stderr}", done.code))
        return done.stdout


class _OnPhone(Backend):
    """One model on the phone, called in a process for each image."""

    def __init__(self, binaries: Binaries, program: Program, place: str, spec: ModelSpec) -> None:
        self._binaries, self._program, self._place, self._spec = binaries, program, place, spec

    def run(self, batch: np.ndarray) -> np.ndarray:
        written = self._binaries.run_images(self._program, self._place, batch)
        expected = len(batch) * self._spec.classes * 4
        if len(written) != expected:
            raise MlkdcError(
                f"{self._program.name} on the phone wrote {len(written)} bytes for {len(batch)} images, expected "
                f"{expected}; take a newer one"
            )
        return np.frombuffer(written, dtype="<f4").reshape(len(batch), -1).astype(np.float32)


def missing(adb: Adb, program: Program) -> str | None:
    """What to do where the program is not on the phone, or cannot be started; None where it can."""
    if adb.shell(f"test -x {program.path}").code == 0:
        return None
    place = shlex.quote(program.path)
    return (
        f"adb://{adb.serial} has no program {program.path}; put it there: `adb push {program.name} {place}`, "
        f"`adb shell chmod 755 {place}`"
    )
