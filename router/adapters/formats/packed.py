"""Matrices with 8, 4, 2 or 1 bits a value.

A matrix is stored line by line along its longer side, so that the rows of A and the columns of B, one for each rank,
have a scale each. A line with the scale m has the 2^bits values from -m to m at equal distances. The values of fewer
bits are among those of more (1, 3, 15 and 255 steps divide each other), and all bits choose m from the same candidates
by the squared error, so that more bits never have the larger error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

Bits = Literal[8, 4, 2, 1]
ALL_BITS: tuple[Bits, ...] = get_args(Bits)
Codes = NDArray[np.uint8]
Scales = NDArray[np.float32]
# Scales that are tried, as shares of a line's largest value.
_SHARES = tuple(n / 16 for n in range(16, 0, -1))


class Packed(Struct, frozen=True):
    """How a matrix of `shape` is stored: `bits` a value, along its longer side."""

    bits: Bits
    shape: tuple[int, int]

    @property
    def lines(self) -> tuple[int, int]:
        """The number of lines and the values of each."""
        return min(self.shape), max(self.shape)

    @property
    def bytes_a_line(self) -> int:
        """The bytes of a line's values, without its scale."""
        return -(-self.lines[1] * self.bits // 8)

    def pack(self, matrix: NDArray[np.float64]) -> tuple[Codes, Scales]:
        """The bytes of each line, and the scale of each. The values must be finite."""
        lines = np.asarray(matrix if self._is_by_rows else matrix.T, np.float64)
        largest = np.max(np.abs(lines), axis=1, initial=0.0)
        best, scales = np.full(len(lines), np.inf), np.zeros(len(lines), np.float32)
        # With the mean of the sizes, one bit has the smallest error.
        for tried in (*(largest * share for share in _SHARES), np.mean(np.abs(lines), axis=1)):
            scale = tried.astype(np.float32)
            errors = np.sum((self._decoded(self._encoded(lines, scale), scale) - lines) ** 2, axis=1)
            scales, best = np.where(errors < best, scale, scales), np.minimum(errors, best)
        codes = self._encoded(lines, scales)
        if self.bits == 8:
            return codes, scales
        bits = np.unpackbits(codes[:, :, None], axis=2)[:, :, 8 - self.bits :]
        return np.packbits(bits.reshape(len(lines), -1), axis=1), scales

    def unpack(self, codes: Codes, scales: Scales) -> NDArray[np.float64]:
        """The matrix. Raises ValueError where the shapes are not those of its lines."""
        count, length = self.lines
        if codes.shape != (count, self.bytes_a_line) or scales.shape != (count,):
            raise ValueError(f"{codes.shape} and {scales.shape} are no {self.bits}-bit matrix of {self.shape}")
        if self.bits < 8:
            bits = np.unpackbits(codes, axis=1, count=length * self.bits).reshape(count, length, self.bits)
            codes = np.packbits(bits, axis=2)[:, :, 0] >> np.uint8(8 - self.bits)
        lines = self._decoded(codes, scales)
        return lines if self._is_by_rows else lines.T

    @property
    def _is_by_rows(self) -> bool:
        return self.shape[0] <= self.shape[1]

    @property
    def _steps(self) -> int:
        return int(2**self.bits) - 1

    def _encoded(self, lines: NDArray[np.float64], scales: Scales) -> Codes:
        wide = np.where(scales > 0, scales, 1).astype(np.float64)[:, None]
        return np.clip(np.rint((lines / wide + 1) * (self._steps / 2)), 0, self._steps).astype(np.uint8)

    def _decoded(self, codes: Codes, scales: Scales) -> NDArray[np.float64]:
        return (codes * (2.0 / self._steps) - 1) * scales.astype(np.float64)[:, None]


def packed_of(stated: Mapping[str, Any]) -> dict[str, Packed]:
    """How matrices are stored, by name, from `{name: [bits, rows, columns]}`. Raises ValueError naming the matrix."""
    found = {}
    for name, value in stated.items():
        if not isinstance(value, list) or len(value) != 3 or not all(type(each) is int and each > 0 for each in value):
            raise ValueError(f"{name}: must be bits, rows and columns, not {value!r}")
        if value[0] not in ALL_BITS:
            raise ValueError(f"{name}: bits: {value[0]} is none of 8, 4, 2 and 1")
        found[name] = Packed(value[0], (value[1], value[2]))
    return found
