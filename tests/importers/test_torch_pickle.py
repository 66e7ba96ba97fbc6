"""The checkpoint reader agrees with PyTorch on honest files, and runs nothing of dishonest ones."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import random
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphdet.errors import BadWeights, GdError, HostilePickle
from graphdet.importers import read_weights

LEGACY_HEAD = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}]


def zip_bytes(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file in memory."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


class Call:
    """Pickles as a call of `function`."""

    def __init__(self, function: Callable[..., Any], *args: object) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[object, ...]]:
        return self.function, self.args


def evil_os(sentinel: Path) -> Call:
    return Call(os.system, f"touch {sentinel}")


def evil_eval(sentinel: Path) -> Call:
    return Call(eval, f"open({str(sentinel)!r}, 'w')")


def evil_open(sentinel: Path) -> Call:
    return Call(open, str(sentinel), "w")


def evil_nested(sentinel: Path) -> Call:
    return Call(pickle.loads, pickle.dumps(evil_open(sentinel)))


def evil_getattr(sentinel: Path) -> Call:
    return Call(getattr, Call(__import__, "os"), "system")


EVILS = [evil_os, evil_eval, evil_open, evil_nested, evil_getattr]
PLACES: dict[str, Callable[[Call], object]] = {
    "whole": lambda evil: evil,
    "state_dict": lambda evil: {"state_dict": {"a": evil}},
    "meta": lambda evil: {"state_dict": {}, "meta": {"config": evil}},
    "optimizer": lambda evil: {"state_dict": {}, "optimizer": [{"deep": (1, [evil])}]},
    "key": lambda evil: OrderedDict([(("k", 1), evil)]),
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("evil", EVILS)
@pytest.mark.parametrize("legacy", [False, True])
def test_a_hostile_pickle_is_refused_and_nothing_runs(
    tmp_path: Path, evil: Callable[[Path], Call], place: str, protocol: int, legacy: bool
) -> None:
    sentinel = tmp_path / "it-ran"
    content = PLACES[place](evil(sentinel))
    if legacy:
        data = b"".join(pickle.dumps(part, protocol) for part in [*LEGACY_HEAD, content, []])
    else:
        data = zip_bytes({"archive/data.pkl": pickle.dumps(content, protocol), "archive/version": b"3\n"})
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(HostilePickle, match="refused and nothing was run") as caught:
        read_weights(tmp_path / "w.pth")
    assert not sentinel.exists()
    assert "w.pth" in str(caught.value)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (b"\x80\x02cposix\nsystem\nX\x02\x00\x00\x00ls\x85R.", "posix.system"),
        (b"\x80\x02(X\x02\x00\x00\x00lsiposix\nsystem\n.", "posix.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04exec\x93\x8c\x04pass\x85R.", "builtins.exec"),
        (b"\x80\x02ctorch.storage\n_load_from_bytes\nC\x00\x85R.", "torch.storage._load_from_bytes"),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n.", "__globals__"),
        (b"\x80\x02\x82\x01.", "extension registry"),
    ],
)
def test_the_refused_global_is_named(tmp_path: Path, code: bytes, name: str) -> None:
    (tmp_path / "w.pt").write_bytes(zip_bytes({"w/data.pkl": code}))
    with pytest.raises(HostilePickle, match=name):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize(
    "code",
    [
        b"\x80\x02ccollections\nOrderedDict\n)RK\x01K\x02\x86R.",  # calls a dict
        b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.",  # a state for a constructor
        b"\x80\x02j\xff\xff\xff\xff.",  # an unknown memo slot
        b"\x80\x02]r\xff\xff\xff\x7f.",  # a huge memo slot costs nothing, and a list is no checkpoint
        b"\x80\x02R.",
        b"\x80\x02.",
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.",  # bytes longer than the file
        b"\x80\x02}(((tttK\x01u.",  # an odd number of dict items, keyed by tuples
        b"\x80\x02]",
        b"",
    ],
)
def test_a_malformed_pickle_is_a_clear_error(tmp_path: Path, code: bytes) -> None:
    (tmp_path / "w.pt").write_bytes(zip_bytes({"w/data.pkl": code}))
    with pytest.raises(BadWeights):
        read_weights(tmp_path / "w.pt")


def test_repeated_copies_of_one_list_are_bounded(tmp_path: Path) -> None:
    items = b"\x80\x02](" + b"K\x01" * 50_000 + b"eq\x01"
    code = items + b"".join(b"ctorch\nSize\nh\x01\x85R" for _ in range(2_000)) + b"."
    (tmp_path / "w.pt").write_bytes(zip_bytes({"w/data.pkl": code}))
    with pytest.raises(BadWeights, match="copy far more"):
        read_weights(tmp_path / "w.pt")


# --- hand-made tensors: no PyTorch needed -----------------------------------------------------------------------------


class Global:
    """Pickles as the bare name of a global that need not be importable."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


PythonPickler: Any = vars(pickle)["_Pickler"]  # the one in C has no `save` to override


class TorchPickler(PythonPickler):  # type: ignore[misc]
    """Writes what `torch.save` writes, from tuples `("tensor", type, key, count, offset, shape, strides)`."""

    def save(self, obj: object, save_persistent_id: bool = True) -> None:
        """Write one object; bare globals and tensors in their own way."""
        if isinstance(obj, Global):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, tuple) and obj[:1] == ("tensor",):
            _, kind, key, count, offset, shape, strides = obj
            self.save(Global("torch._utils", "_rebuild_tensor_v2"))
            self.write(b"(")
            self.save(("storage", Global("torch", kind), key, "cpu", count))
            self.write(b"Q")
            rest: tuple[object, ...] = (offset, shape, strides, False, OrderedDict())
            for part in rest:
                self.save(part)
            self.write(b"tR")
        else:
            PythonPickler.save(self, obj, save_persistent_id)


def torch_pickle(content: object) -> bytes:
    file = io.BytesIO()
    TorchPickler(file, 2).dump(content)
    return file.getvalue()


def checkpoint(tensor: tuple[object, ...], storages: dict[str, bytes], order: bytes = b"little") -> bytes:
    members = {f"w/data/{key}": data for key, data in storages.items()}
    return zip_bytes({"w/data.pkl": torch_pickle({"x": tensor}), "w/byteorder": order, **members})


SIX = struct.pack("<6f", *range(6))


def test_tensors_are_read_without_torch(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(checkpoint(("tensor", "FloatStorage", "0", 6, 0, (2, 3), (3, 1)), {"0": SIX}))
    np.testing.assert_array_equal(read_weights(tmp_path / "w.pt").tensors["x"], [[0, 1, 2], [3, 4, 5]])


def test_the_byte_order_of_the_file_is_respected(tmp_path: Path) -> None:
    big = struct.pack(">6f", *range(6))
    data = checkpoint(("tensor", "FloatStorage", "0", 6, 0, (6,), (1,)), {"0": big}, b"big")
    (tmp_path / "w.pt").write_bytes(data)
    found = read_weights(tmp_path / "w.pt").tensors["x"]
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, range(6))


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (("tensor", "FloatStorage", "0", 6, 0, (7,), (1,)), "reaches element 6 of a storage of 6"),
        (("tensor", "FloatStorage", "0", 6, 5, (2,), (1,)), "reaches element 6"),
        (("tensor", "FloatStorage", "0", 6, 0, (2, 2), (5, 1)), "reaches element 6"),
        (("tensor", "FloatStorage", "0", 6, -1, (2,), (1,)), "malformed"),
        (("tensor", "FloatStorage", "0", 6, 3, (2,), (-1,)), "malformed"),
        (("tensor", "FloatStorage", "0", 6, 0, (2,), (1, 1)), "malformed"),
        (("tensor", "FloatStorage", "0", 6, 0, (2.0,), (1,)), "malformed"),
        (("tensor", "FloatStorage", "0", 6, 0, (True,), (1,)), "malformed"),
        (("tensor", "FloatStorage", "0", 6, 0, (1 << 62,), (0,)), "malformed|absurd"),
        (("tensor", "FloatStorage", "0", 6, 0, (1 << 50,), (0,)), "absurd"),
        (("tensor", "FloatStorage", "0", 6, 0, (0, 1 << 61), (1, 1)), "absurd"),
        (("tensor", "FloatStorage", "0", 6, 0, (1 << 30,), (0,)), "far more memory"),
        (("tensor", "FloatStorage", "0", 7, 0, (7,), (1,)), "24 bytes, but 7 elements"),
        (("tensor", "DoubleStorage", "0", 6, 0, (6,), (1,)), "24 bytes, but 6 elements of 8"),
        (("tensor", "FloatStorage", "1", 6, 0, (6,), (1,)), "storage '1' is missing"),
        (("tensor", "FloatStorage", "../x", 6, 0, (6,), (1,)), "is missing"),
        (("tensor", "FloatStorage", "0", -6, 0, (6,), (1,)), "malformed storage"),
    ],
)
def test_a_tensor_cannot_reach_outside_its_storage(tmp_path: Path, tensor: tuple[object, ...], message: str) -> None:
    (tmp_path / "w.pt").write_bytes(checkpoint(tensor, {"0": SIX}))
    with pytest.raises(BadWeights, match=message):
        read_weights(tmp_path / "w.pt")


def test_a_bad_checksum_is_found(tmp_path: Path) -> None:
    data = checkpoint(("tensor", "FloatStorage", "0", 6, 0, (6,), (1,)), {"0": SIX})
    (tmp_path / "w.pt").write_bytes(data.replace(SIX, SIX[:-1] + b"\x00"))
    with pytest.raises(BadWeights, match=r"w/data/0.*checksum"):
        read_weights(tmp_path / "w.pt")


def test_a_zip_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphdet.importers.torch_pickle._ROOM", 1 << 16)
    tensor = ("tensor", "ByteStorage", "0", 1 << 22, 0, (1 << 22,), (1,))
    members = {"w/data.pkl": torch_pickle({"x": tensor}), "w/data/0": bytes(1 << 22)}
    (tmp_path / "w.pt").write_bytes(zip_bytes(members, zipfile.ZIP_DEFLATED))
    with pytest.raises(BadWeights, match="zip bomb"):
        read_weights(tmp_path / "w.pt")


def test_a_deflated_checkpoint_is_read(tmp_path: Path) -> None:
    tensor = ("tensor", "FloatStorage", "0", 6, 0, (6,), (1,))
    members = {"w/data.pkl": torch_pickle({"x": tensor}), "w/data/0": SIX}
    (tmp_path / "w.pt").write_bytes(zip_bytes(members, zipfile.ZIP_DEFLATED))
    np.testing.assert_array_equal(read_weights(tmp_path / "w.pt").tensors["x"], range(6))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (zip_bytes({"readme.txt": b"hello"}), "no PyTorch checkpoint"),
        (zip_bytes({"a/data.pkl": b"", "b/data.pkl": b""}), "no PyTorch checkpoint"),
        (zip_bytes({"w/data.pkl": b"", "w/constants.pkl": b""}), "TorchScript"),
        (zip_bytes({"w/data.pkl": b"", "w/byteorder": b"middle"}), "byte order"),
        (pickle.dumps({"a": 1}, 2) + pickle.dumps(1, 2), "a pickle but no PyTorch checkpoint"),
    ],
)
def test_other_containers_are_told_apart(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "w.pt").write_bytes(data)
    with pytest.raises(BadWeights, match=message):
        read_weights(tmp_path / "w.pt")


# --- against PyTorch --------------------------------------------------------------------------------------------------


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch")


def odd_tensors(torch: Any) -> dict[str, Any]:
    """Every layout and element type that a state_dict may hold."""
    base = torch.arange(24, dtype=torch.float32).reshape(4, 6)
    kinds = ["float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool"]
    kinds += ["complex64", "uint16", "uint32"]
    return {
        "whole": base,
        "transposed": base.t(),
        "sliced": base[1:3, ::2],
        "shared": base[2],
        "expanded": torch.tensor([3.0]).expand(2, 5),
        "scalar": torch.tensor(2.5),
        "scalar.bool": torch.tensor(True),
        "scalar.bf16": torch.tensor(1.5, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 3),
        "empty.bool": torch.zeros(0, dtype=torch.bool),
        "parameter": torch.nn.Parameter(torch.randn(3, 2)),
        "bf16.transposed": torch.randn(3, 4).to(torch.bfloat16).t(),
        "channels_last": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        **{f"kind.{kind}": torch.tensor([[0, 1, 5], [7, 2, 0]]).to(getattr(torch, kind)) for kind in kinds},
    }


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_every_layout_and_type_reads_as_in_torch(tmp_path: Path, torch: Any, new: bool) -> None:
    tensors = odd_tensors(torch)
    if not new:
        tensors = {n: t for n, t in tensors.items() if n not in ("kind.uint16", "kind.uint32")}
    torch.save(OrderedDict(tensors), tmp_path / "w.pth", _use_new_zipfile_serialization=new)
    found = read_weights(tmp_path / "w.pth").tensors
    assert list(found) == list(tensors)
    for name, tensor in tensors.items():
        value = tensor.detach()
        wanted = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
        assert found[name].dtype == wanted.dtype, name
        assert found[name].flags.c_contiguous, name
        assert found[name].flags.aligned, name
        np.testing.assert_array_equal(found[name], wanted, err_msg=name, strict=True)


def test_contiguous_tensors_are_not_copied(tmp_path: Path, torch: Any) -> None:
    base = torch.randn(100)
    torch.save({"a": base, "b": base[10:]}, tmp_path / "w.pth")
    found = read_weights(tmp_path / "w.pth").tensors
    assert np.shares_memory(found["a"], found["b"])
    assert not found["a"].flags.writeable


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_damage_is_always_a_clear_error(tmp_path: Path, torch: Any, new: bool) -> None:
    content = {"state_dict": odd_tensors(torch), "meta": {"epoch": np.float64(3), "CLASSES": ("a", "b")}}
    if not new:
        content["state_dict"] = {n: t for n, t in content["state_dict"].items() if "uint" not in n}
    path = tmp_path / "w.pth"
    torch.save(content, path, _use_new_zipfile_serialization=new)
    whole = path.read_bytes()
    for size in range(0, len(whole), max(1, len(whole) // 60)):
        path.write_bytes(whole[:size])
        with pytest.raises(GdError):
            read_weights(path)
    rng = random.Random(0)
    for _ in range(300):
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 1, 4])):
            damaged[rng.randrange(len(whole))] = rng.randrange(256)
        path.write_bytes(damaged)
        with contextlib.suppress(BadWeights, HostilePickle):  # a change inside a legacy tensor cannot be seen
            read_weights(path)


@pytest.mark.parametrize("name", ["yunet_n", "yunet_s"])
def test_real_checkpoints_agree_with_torch(shared: Callable[[str], Path], torch: Any, name: str) -> None:
    path = shared("data/yunet-mmdet224-ckpt") / f"{name}.pth"
    wanted = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    found = read_weights(path)
    assert list(found.tensors) == list(wanted)
    for key, tensor in wanted.items():
        np.testing.assert_array_equal(found.tensors[key], tensor.numpy(), strict=True)
    assert found.classes == ("FG",)
    assert found.meta["epoch"] == "560"
    assert found.meta["mmdet_version"].startswith("2.24.1")
    assert "optimizer" in found.meta["config"]
