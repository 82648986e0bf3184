"""Memory that is used again: only when nobody looks at it any more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from refutable.errors import ModelError
from refutable.models.weights import files
from refutable.models.weights.files import SafetensorsFiles
from refutable.models.weights.room import ReusedRoom, Room


def address(array: np.ndarray) -> int:
    return int(array.__array_interface__["data"][0])


def test_what_is_let_go_is_handed_out_again_and_nothing_else() -> None:
    room = ReusedRoom()
    first = room.empty(1000)
    assert address(room.empty(1000)) != address(first)
    tensor = torch.from_numpy(first.reshape(10, 100))
    place = address(first)
    parameter = torch.nn.Parameter(tensor[2:4].detach(), requires_grad=False)
    del first, tensor
    # A parameter that looks at a part of it is enough.
    assert address(room.empty(1000)) != place
    looked = parameter.detach().numpy()
    del parameter
    assert place not in {address(room.empty(1000)) for _ in range(2)}
    del looked
    assert address(room.empty(1000)) in {place, *(address(a) for a in room._arrays)}
    taken = [room.empty(1000) for _ in range(len(room._arrays))]
    assert place in map(address, taken)
    assert len({address(one) for one in taken}) == len(taken)
    assert address(room.empty(999)) not in map(address, taken)


def test_without_reuse_arrays_are_their_own() -> None:
    room = Room()
    one = room.empty(64)
    one[:] = 1
    assert room.empty(64) is not one


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("piece", [7, 1 << 19])
def test_every_type_is_read_as_torch_widens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: torch.dtype, piece: int
) -> None:
    monkeypatch.setattr(files, "_PIECE", piece)
    values = torch.randn(5, 11, dtype=torch.float64).to(kind)
    special = torch.tensor([0.0, -0.0, float("inf"), float("-inf"), 1e-40, 65504.0]).to(kind)
    path = tmp_path / "model.safetensors"
    save_file({"a": values, "b": special}, path)
    read = SafetensorsFiles((path,))
    read.room = ReusedRoom()
    for _ in range(2):
        numbers = read.flat("a", 0, 55).reshape(5, 11)
        assert np.array_equal(numbers, values.float().numpy())
        assert np.array_equal(read.flat("a", 9, 31), values.float().numpy().reshape(-1)[9:31])
        assert read.flat("b", 0, 6).tobytes() == special.float().numpy().tobytes()


def test_a_file_that_ends_early_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.randn(100).to(torch.bfloat16)}, path)
    read = SafetensorsFiles((path,))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ModelError, match="ends too early: fetch the model again"):
        read.flat("a", 0, 100)
