"""Is a model file what its manifest says? Asked here, for devices whose programs cannot be asked."""

from mlkdc.devices.base import Subject
from mlkdc.errors import UsageError
from mlkdc.runtime.model import Model, load_backend
from mlkdc.runtime.session import spec_of


def check_here(subject: Subject) -> None:
    """Refuse an artifact whose file says something else than its manifest, before it is sent.

    Where this machine cannot load it (no such runtime, another processor), only its checksums are known to be right.

    Raises:
        UsageError: names what differs.
    """
    spec = spec_of(subject.manifest)
    try:
        backend = load_backend(subject.folder, spec, None)
    except UsageError:
        return
    with Model(spec, backend) as model:
        model.check_metadata(subject.folder)
