"""The weights' file: read back by the library, and the same bytes whenever the weights are the same."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from mlkdc.errors import MlkdcError
from mlkdc.train.checkpoint import save_weights

CLASSES = 'cat\n"dog"\nñandú 鳥'
WRITE = """
import sys, torch
from pathlib import Path
from torch import nn
from mlkdc.train.checkpoint import save_weights
torch.manual_seed(0)
save_weights(Path(sys.argv[1]), nn.Linear(3, 2), {"classes": "cat", "model": "one", "author": "me"})
"""


def test_the_library_reads_the_weights_and_what_is_said_of_them(tmp_path: Path):
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5))
    save_weights(tmp_path / "model.safetensors", model, {"classes": CLASSES, "model": "mobilenetv2"})
    torch.testing.assert_close(load_file(tmp_path / "model.safetensors"), dict(model.state_dict()), rtol=0, atol=0)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert file.metadata() == {"classes": CLASSES, "format": "pt", "model": "mobilenetv2"}


def test_equal_weights_are_equal_bytes_in_every_process(tmp_path: Path):
    """With four keys, 23 of 24 files would differ from one that the library has ordered itself."""
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file in files:
        subprocess.run([sys.executable, "-c", WRITE, str(file)], check=True)
    assert len({file.read_bytes() for file in files}) == 1


def test_a_disk_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("no folder", encoding="utf-8")
    with pytest.raises(MlkdcError):
        save_weights(tmp_path / "file" / "model.safetensors", nn.Linear(1, 1), {})
