"""The float file that a model became, kept: with corrected biases it is the same file but for them."""

from collections.abc import Callable

from torch import Tensor, nn

# A shorter run of bytes may lie in a file by chance.
LEAST_BYTES = 16


class Converted:
    """What a converter made of a model in floating point.

    To convert takes seconds. What a bias correction changes lies in the file as it lies in memory, so it is replaced
    there; where that is not so, the model is converted again.
    """

    def __init__(self) -> None:
        self._content = b""
        self._state: dict[str, Tensor] = {}

    def of(self, model: nn.Module, convert: Callable[[], bytes]) -> bytes:
        """The model's file.

        Args:
            model: of the same modules as in each call before.
            convert: makes it.
        """
        if not self._content:
            self._content = convert()
            self._state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            return self._content
        content = self._replaced(model.state_dict())
        return convert() if content is None else content

    def _replaced(self, state: dict[str, Tensor]) -> bytes | None:
        """The file that is kept, with these parameters; None where not each that changed has a place of its own."""
        content = bytearray(self._content)
        for name, before in self._state.items():
            if before.equal(state[name]):
                continue
            old, new = _bytes(before), _bytes(state[name])
            place = self._content.find(old)
            if len(old) < LEAST_BYTES or place < 0 or self._content.find(old, place + 1) >= 0:
                return None
            # A converter can store equal parameters once.
            if any(other != name and tensor.equal(before) for other, tensor in self._state.items()):
                return None
            content[place : place + len(old)] = new
        return bytes(content)


def _bytes(tensor: Tensor) -> bytes:
    content: bytes = tensor.numpy().tobytes()
    return content
