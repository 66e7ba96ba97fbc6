"""The vocabulary of the ops' `onnx` rules: any standard operator as a method, constants, and sizes known at run time.

Handles are names of ONNX values. Constants and sizes are written once, however often they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from onnx import GraphProto, TensorProto, helper

from graphdet.compiler.backends.onnx.sizes import Sizes
from graphdet.errors import InternalError
from graphdet.ir.dims import Dim, DimLike
from graphdet.ir.graph import Node
from graphdet.ir.types import Type
from graphdet.records import Array

Handle: TypeAlias = str
Handles: TypeAlias = Handle | tuple[Handle, ...]

DTYPES = {
    "f32": TensorProto.FLOAT,
    "f16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
    "f64": TensorProto.DOUBLE,
    "i64": TensorProto.INT64,
    "i32": TensorProto.INT32,
    "u8": TensorProto.UINT8,
    "b": TensorProto.BOOL,
}


class Emitter:
    """Writes operators, initialisers and sizes into a GraphProto."""

    def __init__(self, proto: GraphProto, reserved: set[str]) -> None:
        self._proto, self._reserved = proto, reserved
        self._types: dict[Handle, Type] = {}
        self._constants: dict[tuple[str, tuple[int, ...], bytes], Handle] = {}
        self._sizes = Sizes(self)
        self._count = 0
        self._label = self._place = ""

    def __getattr__(self, operator: str) -> Callable[..., Any]:
        if not operator[0].isupper():
            raise AttributeError(operator)
        return lambda *inputs, **attributes: self.node(operator, inputs, **attributes)

    def node(self, operator: str, inputs: tuple[Handle | None, ...], *, outputs: int = 1, **attributes: Any) -> Handles:
        """Append an operator of the default domain; None stands for an absent optional operand.

        Returns one handle, or a tuple of `outputs` handles (for Split: `num_outputs`).
        """
        count = attributes.get("num_outputs", outputs)
        names = tuple(self._fresh() for _ in range(count))
        operands = ["" if i is None else i for i in inputs]
        while operands and not operands[-1]:
            operands.pop()
        made = self._proto.node.add(op_type=operator, input=operands, output=names)
        made.name = f"{self._label}/{operator}{names[0]}"
        if self._place:
            made.doc_string = self._place
        made.attribute.extend(helper.make_attribute(k, v) for k, v in sorted(attributes.items()))
        return names[0] if count == 1 else names

    def constant(self, array: Any) -> Handle:
        """An initialiser; equal arrays share one."""
        values = np.asarray(array)
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._constants:
            self._constants[key] = self._fresh("c")
            self.initializer(self._constants[key], values)
        return self._constants[key]

    def initializer(self, name: str, array: Array) -> None:
        """An initialiser under a given name; the bytes are copied once, into the model."""
        tensor = self._proto.initializer.add(name=name, dims=array.shape)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor.raw_data = array.tobytes()

    def scalar(self, number: int) -> Handle:
        """A constant int64 of rank 0."""
        return self.constant(np.asarray(number, np.int64))

    def sizes(self, dims: tuple[DimLike, ...]) -> Handle:
        """An int64 vector of sizes (-1 stays -1), constant where all of them are numbers."""
        return self._sizes.vector(tuple(map(Dim.of, dims)))

    def size(self, dim: DimLike) -> Handle:
        """One size as int64 of rank 0."""
        return self._sizes.scalar(Dim.of(dim))

    def type(self, handle: Handle) -> Type:
        """The graph type of an operand. Raises InternalError for a value that is not the graph's."""
        if handle not in self._types:
            raise InternalError(f"{self._label}: {handle} is no value of the graph, so it has no type")
        return self._types[handle]

    def dtype(self, name: str) -> int:
        """The TensorProto number of a graph dtype, for Cast."""
        return int(DTYPES[name])

    def know(self, handle: Handle, type: Type, *, source: bool = False) -> None:
        """Say which graph type a handle has; a `source` is there from the start, so sizes are best read off it."""
        self._types.setdefault(handle, type)
        self._sizes.know(handle, type, source=source)

    def begin(self, node: Node) -> None:
        """Name what follows after a graph node."""
        self._label = "/".join(filter(None, (node.scope, node.name)))
        self._place = node.place

    def _fresh(self, prefix: str = "") -> Handle:
        while True:
            name = f"{prefix}_{self._count}"
            self._count += 1
            if name not in self._reserved:
                return name
