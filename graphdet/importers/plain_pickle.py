"""A pickle reader that cannot run code: a stack machine over plain data, with a closed table of known names.

The standard unpickler calls whatever a file names. This one imports nothing and reads no attributes: a global is looked
up in a table that the caller supplies, and an object is made only by a `Maker` of that table. Lists, dicts, tuples,
sets, numbers and text are built directly. Work and memory are linear in the number of bytes read.
"""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass
from typing import Any, NoReturn

from graphdet.errors import BadWeights, HostilePickle

# the last one is about escapes in a damaged name, where warnings are errors
_FAULTS = (IndexError, KeyError, ValueError, TypeError, OverflowError, struct.error, DeprecationWarning)
_KEYS = (str, int, float, bytes, type(None))  # keys whose hash is cheap: nested tuples could take exponential time


@dataclass(frozen=True)
class Maker:
    """A global that may be called by a pickle: `make` receives the pickled arguments and must not trust them."""

    make: Callable[..., Any]


@dataclass(frozen=True)
class Dialect:
    """What one file format adds to plain data.

    known: dotted global name to its value, a `Maker` if callable · persistent: turns a persistent id into a value ·
    build: applies a pickled state to an object (`BUILD`); raises TypeError for objects that take none.
    """

    known: Mapping[str, Any]
    persistent: Callable[[Any], Any]
    build: Callable[[Any, Any], None]


def load_plain(stream: io.BytesIO, dialect: Dialect, source: str) -> object:
    """Read one pickle from `stream` and leave the stream behind its end.

    Raises HostilePickle when the pickle names a global outside `dialect.known`, BadWeights when it is malformed.
    """
    machine = _Machine(dialect, source, stream.getbuffer().nbytes)
    try:
        for opcode, arg, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                return machine.stack.pop()
            _step(machine, opcode.name, arg)
    except _FAULTS as fault:
        raise BadWeights(
            f"{source}: the pickled part is damaged or not plain data ({type(fault).__name__}: {str(fault)[:120]})",
            help="copy or download the file again",
        ) from None
    raise BadWeights(f"{source}: the pickled part has no end", help="copy or download the file again")


def plain_key(key: object) -> object:
    """`key` itself if it may serve as a dict key or set member; TypeError otherwise."""
    if not isinstance(key, _KEYS):
        raise TypeError(f"a {type(key).__name__} as key")
    return key


class _Machine:
    def __init__(self, dialect: Dialect, source: str, size: int) -> None:
        self.dialect, self.source = dialect, source
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # stacks beneath open marks
        self.memo: dict[int, Any] = {}
        self.work = 1_000_000 + 4 * size  # elements that constructors may copy: a memoised list can be passed often

    def items(self) -> list[Any]:
        """Everything pushed since the last mark; closes the mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def push(self, value: object) -> None:
        self.stack.append(value)  # the stack is looked up here, after the value's own pops

    def find(self, name: str) -> object:
        if name not in self.dialect.known:
            self.refuse(f"the global {name[:120]!r}")
        return self.dialect.known[name]

    def refuse(self, what: str) -> NoReturn:
        raise HostilePickle(
            f"{self.source} asks for {what}, which is not plain tensor data; it was refused and nothing was run",
            help="if you trust the file, open it with the library that wrote it and save its state_dict alone",
        )

    def call(self, maker: object, args: object) -> None:
        if not isinstance(maker, Maker) or not isinstance(args, tuple | list):
            raise TypeError("a call of something that is no known constructor")
        self.work -= len(args) + sum(len(arg) for arg in args if isinstance(arg, Sized))
        if self.work < 0:
            raise ValueError("its constructors copy far more than the file holds")
        self.push(maker.make(*args))

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(pairs) % 2:
            raise TypeError("items set on something that is no dict")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            target[plain_key(key)] = value

    def extend(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise TypeError("an append to something that is no list")
        target.extend(values)

    def add(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise TypeError("a member added to something that is no set")
        target.update(map(plain_key, values))


def _step(m: _Machine, name: str, arg: object) -> None:
    if name in _LITERALS:
        m.push(arg)
    elif name in _CONSTANTS:
        m.push(_CONSTANTS[name])
    elif name in _RULES:
        _RULES[name](m, arg)
    elif name.startswith("EXT"):
        m.refuse(f"entry {arg} of the process's extension registry")
    else:
        raise ValueError(f"opcode {name} is not supported")


def _pop_call(m: _Machine) -> None:
    args, maker = m.stack.pop(), m.stack.pop()
    m.call(maker, args)


def _pop_call_with_keywords(m: _Machine) -> None:
    if m.stack.pop():
        raise TypeError("keyword arguments of a constructor")
    _pop_call(m)


def _object_call(m: _Machine) -> None:
    maker, *args = m.items()
    m.call(maker, args)


def _stack_global(m: _Machine) -> None:
    name, module = m.stack.pop(), m.stack.pop()
    if type(name) is not str or type(module) is not str:
        raise TypeError("a global whose name is no text")
    m.push(m.find(f"{module}.{name}"))


def _pop_tuple(m: _Machine, count: int) -> None:
    if len(m.stack) < count:
        raise IndexError("the stack is too short")
    values = tuple(m.stack[len(m.stack) - count :])
    del m.stack[len(m.stack) - count :]
    m.push(values)


def _pop_item(m: _Machine) -> None:
    value, key = m.stack.pop(), m.stack.pop()
    m.set_items([key, value])


def _pop_append(m: _Machine) -> None:
    value = m.stack.pop()
    m.extend([value])


def _pop_build(m: _Machine) -> None:
    state = m.stack.pop()
    m.dialect.build(m.stack[-1], state)


def _mark(m: _Machine) -> None:
    m.below.append(m.stack)
    m.stack = []


def _pop(m: _Machine) -> None:
    if m.stack:
        m.stack.pop()
    else:
        m.items()


def _dict(m: _Machine) -> None:
    pairs = m.items()
    m.push({})
    m.set_items(pairs)


def _save(m: _Machine, slot: int) -> None:
    m.memo[slot] = m.stack[-1]


_LITERALS = frozenset(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
_CONSTANTS: Mapping[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_RULES: Mapping[str, Callable[[_Machine, Any], Any]] = {
    "PROTO": lambda m, arg: None,
    "FRAME": lambda m, arg: None,
    "MARK": lambda m, arg: _mark(m),
    "POP": lambda m, arg: _pop(m),
    "POP_MARK": lambda m, arg: m.items(),
    "DUP": lambda m, arg: m.push(m.stack[-1]),
    "EMPTY_LIST": lambda m, arg: m.push([]),
    "EMPTY_DICT": lambda m, arg: m.push({}),
    "EMPTY_SET": lambda m, arg: m.push(set()),
    "LIST": lambda m, arg: m.push(m.items()),
    "TUPLE": lambda m, arg: m.push(tuple(m.items())),
    "DICT": lambda m, arg: _dict(m),
    "FROZENSET": lambda m, arg: m.push(frozenset(map(plain_key, m.items()))),
    "TUPLE1": lambda m, arg: _pop_tuple(m, 1),
    "TUPLE2": lambda m, arg: _pop_tuple(m, 2),
    "TUPLE3": lambda m, arg: _pop_tuple(m, 3),
    "APPEND": lambda m, arg: _pop_append(m),
    "APPENDS": lambda m, arg: m.extend(m.items()),
    "SETITEM": lambda m, arg: _pop_item(m),
    "SETITEMS": lambda m, arg: m.set_items(m.items()),
    "ADDITEMS": lambda m, arg: m.add(m.items()),
    "PUT": _save,
    "BINPUT": _save,
    "LONG_BINPUT": _save,
    "MEMOIZE": lambda m, arg: _save(m, len(m.memo)),
    "GET": lambda m, arg: m.push(m.memo[arg]),
    "BINGET": lambda m, arg: m.push(m.memo[arg]),
    "LONG_BINGET": lambda m, arg: m.push(m.memo[arg]),
    "GLOBAL": lambda m, arg: m.push(m.find(arg.replace(" ", ".", 1))),
    "STACK_GLOBAL": lambda m, arg: _stack_global(m),
    "REDUCE": lambda m, arg: _pop_call(m),
    "NEWOBJ": lambda m, arg: _pop_call(m),
    "NEWOBJ_EX": lambda m, arg: _pop_call_with_keywords(m),
    "INST": lambda m, arg: m.call(m.find(arg.replace(" ", ".", 1)), m.items()),
    "OBJ": lambda m, arg: _object_call(m),
    "BUILD": lambda m, arg: _pop_build(m),
    "PERSID": lambda m, arg: m.push(m.dialect.persistent(arg)),
    "BINPERSID": lambda m, arg: m.push(m.dialect.persistent(m.stack.pop())),
}
