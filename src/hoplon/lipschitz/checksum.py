"""A checksum of arrays, the same whether it is computed in a graph or out of it, on any device and in any order.

It reads the bits of floats as integers and sums them modulo 2^32, each times an odd number of its own place. Integers
do not round: two computations agree exactly, which sums of floats do not. What changes an array changes its sum by an
arbitrary multiple of what changed, so that two arrays agree by chance alone, once in 2^24 to 2^32.
"""

from collections.abc import Iterable
from typing import Any

import keras
from keras import ops

GOLDEN = -1640531535  # 2^32 over the golden ratio, odd, as a signed number: multiples of it are spread evenly
SIGN = 23  # float32's sign and exponent are brought down by this, or a flipped sign would be a matter of one bit


def words(tensor: Any) -> Any:
    """The bits of every float, as int32 of the same shape; those of float64 folded in two."""
    x = ops.stop_gradient(ops.convert_to_tensor(tensor))
    size = {"float16": 16, "bfloat16": 16, "float64": 64}.get(keras.backend.standardize_dtype(x.dtype), 32)
    bits = ops.view(x, f"int{size}")
    if size == 64:
        bits = ops.bitwise_xor(bits, ops.bitwise_right_shift(bits, 32))
    return ops.cast(bits, "int32")


def odd_numbers(count: int) -> Any:
    """As many odd int32, without a pattern."""
    x = ops.arange(1, count + 1, dtype="int32") * GOLDEN
    x = ops.bitwise_xor(x, ops.bitwise_right_shift(x, 15)) * GOLDEN
    return ops.bitwise_or(ops.bitwise_xor(x, ops.bitwise_right_shift(x, 13)), 1)


def checksum_of_one(tensor: Any) -> Any:
    """Of one array, [] int32."""
    columns = tensor.shape[-1] if len(tensor.shape) else 1
    x = ops.reshape(words(tensor), (-1, columns))
    x = ops.bitwise_xor(x, ops.bitwise_right_shift(x, SIGN))
    by_column = ops.sum(x * odd_numbers(x.shape[0])[:, None], axis=0)
    return ops.cast(ops.sum(by_column * odd_numbers(columns + 1)[1:]), "int32")


def as_bytes(word: Any) -> Any:
    """An int32 as its four bytes, [4] float32: numbers that every float holds, whatever weights are cast to."""
    return ops.cast(ops.bitwise_and(ops.bitwise_right_shift(word, ops.arange(0, 32, 8, dtype="int32")), 255), "float32")


def checksum(tensors: Iterable[Any], salt: int = 0) -> Any:
    """Of several arrays in their order, [] int32; another `salt`, another checksum.

    >>> int(checksum([np.ones(3, "float32")])) == int(checksum([np.ones(4, "float32")]))
    False
    """
    total = ops.convert_to_tensor(salt % 2**31, dtype="int32")
    for tensor in tensors:
        total = total * GOLDEN + checksum_of_one(tensor)
    return total
