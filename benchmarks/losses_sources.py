"""What stands in the trainer's place of a source that is there already, to time it or to spare its work."""

import time

from mlkdc.losses import Outputs
from mlkdc.train.sources import Drawn, Source, SourceContext, Step


class Wrapper(Source):
    """Around a source; not made by the trainer."""

    @classmethod
    def make(cls, context: SourceContext) -> "Wrapper":
        raise NotImplementedError


class Clocked(Wrapper):
    """A source that notes how long its outputs take."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.seconds = 0.0

    def start(self, epoch: int) -> None:
        self.source.start(epoch)

    def outputs(self, step: Step) -> Outputs:
        began = time.process_time()
        outputs = self.source.outputs(step)
        self.seconds = time.process_time() - began
        return outputs

    def join(self, drawn: Drawn) -> Drawn:
        return self.source.join(drawn)

    def learned(self, step: Step, student: Outputs) -> None:
        self.source.learned(step, student)

    def finish(self, epoch: int) -> None:
        self.source.finish(epoch)


class Replay(Wrapper):
    """Gives what a source gave for the same images before, as the teacher's cache does."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.kept: dict[tuple[int, ...], Outputs] = {}

    def outputs(self, step: Step) -> Outputs:
        images = tuple(step.index.tolist())
        if images not in self.kept:
            self.kept[images] = self.source.outputs(step)
        return self.kept[images]
