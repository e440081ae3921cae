"""Randomness that can be repeated.

Everything the simulator makes up must come out the same for the same seed, whatever the order of requests
and threads. So nothing shares a generator: each decision has its own dice, seeded with what it is about
(the seed, a job's ARN, the number of a request), and the numbers are a pure function of that.
"""

from __future__ import annotations

import struct
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

T = TypeVar("T")

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


class Dice:
    """A stream of uniform draws that is a pure function of `parts`."""

    __slots__ = ("_block", "_key", "_pool")

    def __init__(self, *parts: object) -> None:
        self._key = "\x1f".join(str(part) for part in parts).encode()
        self._block = 0
        self._pool: list[int] = []

    def bits(self) -> int:
        """The next 64 bits."""
        if not self._pool:
            digest = blake2b(self._key, salt=self._block.to_bytes(8, "big")).digest()
            self._block += 1
            self._pool = list(struct.unpack(">8Q", digest))
        return self._pool.pop()

    def unit(self) -> float:
        """The next number in [0, 1)."""
        return (self.bits() >> 11) * 2.0**-53

    def between(self, low: float, high: float) -> float:
        """The next number in [low, high)."""
        return low + (high - low) * self.unit()

    def stretch(self, low: float, high: float) -> float:
        """The next number in [low, high), small ones as likely as large ones by order of magnitude."""
        return float(low * (high / low) ** self.unit())

    def chance(self, probability: float) -> bool:
        """Whether something of this probability happens."""
        return self.unit() < probability

    def pick(self, choices: Sequence[T]) -> T:
        """One of `choices`, each as likely as the others."""
        return choices[int(self.unit() * len(choices))]

    def choose(self, chances: Mapping[T, float]) -> T:
        """One of the keys, each with its own chance; the last takes what is left to 1."""
        choices, left = list(chances), self.unit()
        for choice in choices[:-1]:
            left -= chances[choice]
            if left < 0:
                return choice
        return choices[-1]

    def identifier(self) -> str:
        """Twelve lower-case letters and digits, as in a Bedrock ARN."""
        number, text = self.bits(), ""
        for _ in range(12):
            number, digit = divmod(number, len(_ALPHABET))
            text += _ALPHABET[digit]
        return text

    def uuid(self) -> str:
        """Something that looks like a random UUID."""
        digits = f"{self.bits():016x}{self.bits():016x}"
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
