from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from router.adapters.safetensors import read_header, read_tensor, write
from router.errors import FileError
from tests.adapters.folders import write_safetensors


@pytest.mark.parametrize(("dtype", "tolerance"), [("F64", 0), ("F32", 1e-7), ("F16", 1e-3), ("BF16", 1e-2)])
def test_values_are_read_from_every_float_dtype(tmp_path: Path, dtype: str, tolerance: float) -> None:
    values = np.random.default_rng(0).standard_normal((3, 5))
    file = tmp_path / "a.safetensors"
    write_safetensors(file, {"first": np.ones(2), "second": values}, dtype)
    header = read_header(file)
    assert header["second"].shape == (3, 5)
    np.testing.assert_allclose(read_tensor(file, header["second"]), values, rtol=tolerance)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    values = {"b": np.arange(6, dtype="<f4").reshape(2, 3), "a": np.ones((1, 1), "<f2")}
    write(tmp_path / "a.safetensors", values)
    header = read_header(tmp_path / "a.safetensors")
    assert {name: tensor.dtype for name, tensor in header.items()} == {"a": "F16", "b": "F32"}
    np.testing.assert_array_equal(read_tensor(tmp_path / "a.safetensors", header["b"]), values["b"])


def test_the_safetensors_package_reads_what_is_written(tmp_path: Path) -> None:
    package = pytest.importorskip("safetensors.numpy")
    values = {"b": np.arange(6, dtype="<f4").reshape(2, 3), "a": np.ones(3, "<f4")}
    write(tmp_path / "a.safetensors", values)
    read = package.load_file(tmp_path / "a.safetensors")
    assert sorted(read) == ["a", "b"]
    np.testing.assert_array_equal(read["b"], values["b"])


def file_of(tmp_path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    file = tmp_path / "a.safetensors"
    file.write_bytes(struct.pack("<Q", len(raw) if length is None else length) + raw + data)
    return file


def entry(shape: Any = (2,), offsets: Any = (0, 8), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"{", "the header is not JSON"),
        ([], "the header is no JSON object"),
        ({"t": 3}, 't: dtype: "None"'),
        ({"t": entry(dtype=["F32"])}, "t: dtype"),
        ({"t": entry(dtype="F31")}, 't: dtype: "F31"'),
        ({"t": entry(shape=[-2])}, "t: shape"),
        ({"t": entry(shape=[True])}, "t: shape"),
        ({"t": entry(shape=[1] * 9)}, "t: shape"),
        ({"t": entry(offsets=[0])}, "t: data_offsets"),
        ({"t": entry(offsets=[8, 0])}, "t: data_offsets: -8 bytes are not"),
        ({"t": entry(offsets=[0, 80], shape=[20])}, "is it cut off"),
        ({"t": entry(shape=[2**40, 2**40])}, "t: data_offsets: 8 bytes are not"),
        ({"t": entry(), "u": entry()}, "u: data_offsets: overlaps"),
    ],
)
def test_a_broken_header_is_refused_with_file_and_tensor(tmp_path: Path, header: Any, problem: str) -> None:
    file = file_of(tmp_path, header, bytes(8))
    with pytest.raises(FileError) as caught:
        read_header(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize("length", [2**63, 10_000])
def test_a_header_longer_than_the_file_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(FileError, match="is cut off or no safetensors file"):
        read_header(file_of(tmp_path, {}, length=length))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(FileError, match="is 0 bytes"):
        read_header(tmp_path / "a")
