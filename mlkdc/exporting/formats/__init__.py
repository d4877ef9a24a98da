"""One file per format. An exporter writes the model files of an artifact and says which they are."""

import errno
from collections.abc import Callable

from mlkdc.errors import MlkdcError, UsageError, first_line
from mlkdc.exporting.job import Built, Job
from mlkdc.registry import Registry

Exporter = Callable[[Job], Built]
EXPORTERS: Registry[Exporter] = Registry("export format", __name__)


#: Errors of the disk and not of the model.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def run_exporter(job: Job) -> Built:
    """What the exporter of the job's format wrote.

    Raises:
        UsageError: a package of the converter cannot be imported (says what to install).
        MlkdcError: the exporter gave up. Whatever the libraries below raise becomes one sentence.
    """
    target = job.target
    try:
        return EXPORTERS.get(target.format)(job)
    except (MlkdcError, MemoryError):
        raise
    except ImportError as error:
        raise UsageError(f"target {target.name}: {first_line(error)}; to reinstall it: {target.install}") from error
    except Exception as error:  # torch and seven converters have no exception in common but this one
        if isinstance(error, OSError) and error.errno in FULL:
            raise MlkdcError(
                f"{job.folder} cannot be written ({error.strerror}); free some space, or name another disk with --out"
            ) from error
        raise MlkdcError(
            f"could not export to {target.name} ({type(error).__name__}: {first_line(error)}); this architecture may "
            "not be exportable to it: try another target or precision, and report this"
        ) from error
