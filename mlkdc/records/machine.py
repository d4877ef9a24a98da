"""The machine on which something was trained, exported or timed."""

from pydantic import ConfigDict

from mlkdc.records.base import Record


class Machine(Record):
    """One computer, as its system describes it.

    Args:
        cpu: model name of the processor.
        cores: that the process may use; None where that is not known.
        vnni: whether an x86 processor has int8 dot products; None for other processors and where it is not known.
        memory_gib: of main memory; None where it is not known.
        system: name, release and architecture of the operating system.
        device: what the model ran on (``cpu``, ``cuda``).
    """

    model_config = ConfigDict(allow_inf_nan=False)

    cpu: str
    cores: int | None
    vnni: bool | None = None
    memory_gib: float | None = None
    system: str
    device: str = "cpu"
