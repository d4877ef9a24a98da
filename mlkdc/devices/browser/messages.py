"""What mlkdc and the page send each other; what the page sends is checked, since anyone could be the page."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FiniteFloat, TypeAdapter

from mlkdc.records.base import Milliseconds, Record
from mlkdc.records.manifest import InputSpec, OutputSpec

Accelerator = Literal["wasm", "webgpu"]
Engine = Literal["litert", "onnxruntime"]

LONGEST_TEXT = 500


def _printable(text: str) -> str:
    """Without what a terminal would obey, on one line."""
    words = "".join(character if character.isprintable() else " " for character in text).split()
    return " ".join(words)[:LONGEST_TEXT]


Text = Annotated[str, AfterValidator(_printable)]
Positive = Annotated[FiniteFloat, Field(gt=0)]


class Facts(Record):
    """What the browser says of itself and its machine.

    Args:
        cores: logical ones, as many as it admits to.
        memory_gib: rounded; None where it does not say.
        secure: whether the page is in a secure context.
        isolated: whether it may share memory between workers, without which there is one thread.
        clock_step_ms: the least difference between two readings of its clock.
        adapter: of WebGPU, in words; None without WebGPU.
        browser, architecture, model, platform: None where it does not say.
    """

    user_agent: Text
    cores: int = Field(ge=1, le=4096)
    memory_gib: Positive | None
    secure: bool
    isolated: bool
    clock_step_ms: Positive
    adapter: Text | None
    browser: Text | None
    architecture: Text | None
    model: Text | None
    platform: Text | None


class Plan(Record):
    """How a turn is timed.

    Args:
        window: samples whose medians are compared during the warm-up.
        least_window, window_seconds: a window ends after so many seconds, once it has so many samples.
        settled: by what fraction two successive medians may differ.
    """

    window: int
    least_window: int
    window_seconds: float
    settled: float
    least_warmup_seconds: float
    most_warmup_seconds: float
    least_runs: int
    least_seconds: float


class Job(Record):
    """What the page is to do in one worker.

    Args:
        id: counted up.
        name: shown on the page.
        size_bytes, sha256: of the artifact's file.
        images: how many there are.
        plan: of a turn.
    """

    id: int
    kind: Literal["turn", "answers"]
    name: str
    engine: Engine
    accelerator: Accelerator
    threads: int
    size_bytes: int
    sha256: str
    input: InputSpec
    output: OutputSpec
    images: int
    plan: Plan | None


class TurnReply(Record):
    """What one worker measured; milliseconds.

    Args:
        warmup_runs: calls before the timed ones, the first included.
        calls_per_sample: how many calls each sample is the mean of: 1, but where the clock is too coarse for one.
        hidden: whether the page was in the background at any time.
    """

    kind: Literal["turn"]
    load_ms: Milliseconds
    first_ms: Milliseconds
    warmup_runs: int = Field(ge=1)
    settled: bool
    clock_step_ms: Positive
    calls_per_sample: int = Field(ge=1, le=10**9)
    samples_ms: tuple[Milliseconds, ...] = Field(min_length=3)
    hidden: bool


class AnswersReply(Record):
    """Probabilities of all images, one after another; None for NaN and infinity, of which JSON has no number."""

    kind: Literal["answers"]
    answers: tuple[FiniteFloat | None, ...]


class FailedReply(Record):
    """The worker could not do the job.

    Args:
        stage: loading the runtime, loading the artifact into it, or running it.
        message: of the runtime or the browser.
    """

    kind: Literal["failed"]
    stage: Literal["runtime", "artifact", "run"]
    message: Text


Reply = TurnReply | AnswersReply | FailedReply
REPLY: TypeAdapter[Reply] = TypeAdapter(Annotated[Reply, Field(discriminator="kind")])


class Alive(Record):
    """Sent while a job runs.

    Args:
        messages: that its worker sent until now.
    """

    messages: int = Field(ge=0)
