"""Pickles of CIFAR, read by a reader of our own that knows numbers, text, containers and arrays.

Python's own reader follows every index and length that a pickle declares: 222 bytes can take
gigabytes. This reader needs memory in proportion to the pickle, runs nothing of it, and refuses
every name but the four of numpy arrays and byte strings.
"""

import io
import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from ddlabel.core.errors import InvalidInputError, UnsafeInputError
from ddlabel.data.importers import budget
from ddlabel.data.labels import Array
from ddlabel.data.schema import require

_NEW_ARRAY = ("numpy.core.multiarray", "_reconstruct")
_ARRAY = ("numpy", "ndarray")
_DTYPE = ("numpy", "dtype")
_ENCODE = ("_codecs", "encode")
# Any other name could run code.
_ALLOWED = {_NEW_ARRAY, ("numpy._core.multiarray", "_reconstruct"), _ARRAY, _DTYPE, _ENCODE}
_NUMBERS = re.compile("[<>=|]?[biuf][1248]")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_NUMBER_CODES = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
_TEXT_CODES = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")
_BYTES_CODES = ("BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
_VALUE_CODES = {*_NUMBER_CODES, *_TEXT_CODES, *_BYTES_CODES, "FLOAT", "BINFLOAT"}
# Byte strings of Python 2, which pickletools decodes.
_STRING_CODES = ("STRING", "BINSTRING", "SHORT_BINSTRING")
_TUPLE_SIZES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_IGNORED = ("PROTO", "FRAME", "STOP")


class _Name(tuple[str, str]):
    """An allowed name: its module and itself."""


class _Unfilled:
    """An array or a dtype, until its state is known."""

    def __init__(self, kind: tuple[str, str], code: str = "") -> None:
        self.kind = kind
        self.code = code
        self.content: Array | None = None


class _Bounded(io.BytesIO):
    """The bytes of a pickle. A length that no pickle of this size has is refused."""

    def read(self, size: int | None = -1) -> bytes:
        budget.check_budget("a value of the pickle", size or 0, budget.MAX_FILE_BYTES)
        return super().read(size)


def read_pickle(content: bytes) -> Any:
    """Return the value of a pickle of numbers, bytes, text, lists, tuples, dicts and arrays.

    Raises:
        UnsafeInputError: It asks for code, or declares a value that is too large.
        InvalidInputError: It is damaged, or has something else.
    """
    try:
        return _Reader(content).run()
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise InvalidInputError("the pickle is cut off or damaged") from error


class _Reader:
    """The stack and the memo of a pickle, and the operations on them."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        """Return the value of the pickle."""
        for operation, argument, _ in pickletools.genops(_Bounded(self.content)):
            self.step(operation.name, argument)
        (value,) = self.stack
        return _filled(value)

    def step(self, code: str, argument: Any) -> None:
        """Run one operation."""
        if code in _VALUE_CODES:
            self.stack.append(argument)
        elif code in _CONSTANTS:
            self.stack.append(_CONSTANTS[code])
        elif code in _STRING_CODES:
            self.stack.append(argument.encode("latin-1"))
        elif code in _TUPLE_SIZES:
            self.stack.append(tuple(self.pop_many(_TUPLE_SIZES[code])))
        elif code in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.put(argument)
        elif code in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif code not in _IGNORED:
            operation: Callable[[_Reader, Any], None] | None = _OPERATIONS.get(code)
            require(operation is not None, f"the pickle has {code}, which arrays do not need")
            assert operation is not None  # narrowed for mypy
            operation(self, argument)

    def put(self, index: int) -> None:
        """Remember the value on top of the stack."""
        # Python's reader makes a table up to the index.
        name = f"the memo of a pickle of {len(self.content)} bytes"
        budget.check_budget(name, index, len(self.content), "entries")
        self.memo[index] = self.stack[-1]

    def pop_many(self, count: int) -> list[Any]:
        """Return the last `count` values and take them off the stack."""
        begin = len(self.stack) - count
        values = self.stack[begin:]
        del self.stack[begin:]
        return values

    def pop_to_mark(self) -> list[Any]:
        """Return the values since the last mark and take them off the stack."""
        return self.pop_many(len(self.stack) - self.marks.pop())

    def mark(self, _: Any) -> None:
        self.marks.append(len(self.stack))

    def memoize(self, _: Any) -> None:
        self.memo[len(self.memo)] = self.stack[-1]

    def empty_list(self, _: Any) -> None:
        self.stack.append([])

    def empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def make_list(self, _: Any) -> None:
        self.stack.append(self.pop_to_mark())

    def make_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self.pop_to_mark()))

    def make_dict(self, _: Any) -> None:
        items = self.pop_to_mark()
        self.stack.append({})
        self.set_in_dict(items)

    def append(self, _: Any) -> None:
        self.extend(self.pop_many(1))

    def appends(self, _: Any) -> None:
        self.extend(self.pop_to_mark())

    def extend(self, values: list[Any]) -> None:
        """Append values to the list on top of the stack."""
        require(type(self.stack[-1]) is list, "the pickle appends to what is no list")
        self.stack[-1].extend(values)

    def set_item(self, _: Any) -> None:
        self.set_in_dict(self.pop_many(2))

    def set_items(self, _: Any) -> None:
        self.set_in_dict(self.pop_to_mark())

    def set_in_dict(self, items: list[Any]) -> None:
        """Set keys and values, in turn, in the dict on top of the stack."""
        target = self.stack[-1]
        require(type(target) is dict, "the pickle sets items of what is no dictionary")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # The hash of a deep tuple could overflow the stack of the interpreter.
            require(type(key) in (bytes, str), "a key of the pickle is neither bytes nor text")
            target[key] = value

    def name(self, argument: str) -> None:
        """Push a name that the pickle asks for, if it is one of those of arrays."""
        module, _, name = argument.partition(" ")
        require(
            (module, name) in _ALLOWED,
            f"a pickle asks for {module}.{name}, which could run code: only arrays are read",
            UnsafeInputError,
        )
        self.stack.append(_Name((module, name)))

    def name_on_stack(self, _: Any) -> None:
        module, name = self.pop_many(2)
        self.name(f"{module} {name}")

    def call(self, _: Any) -> None:
        """Make a new array, a dtype or bytes: the calls that pickles of arrays have."""
        name, arguments = self.pop_many(2)
        require(
            type(name) is _Name and type(arguments) is tuple,
            "the pickle calls what is no name",
        )
        if name == _ENCODE:
            text, encoding = arguments
            require(encoding in ("latin1", b"latin1"), f"the pickle encodes in {encoding!r}")
            self.stack.append(text.encode("latin-1"))
        elif name == _DTYPE:
            self.stack.append(_Unfilled(_DTYPE, code=_as_text(arguments[0])))
        else:
            self.stack.append(_Unfilled(_ARRAY))

    def build(self, _: Any) -> None:
        """Give an array or a dtype its state."""
        (state,) = self.pop_many(1)
        target = self.stack[-1]
        require(type(target) is _Unfilled, "the pickle builds what is no array")
        if target.kind == _DTYPE:
            target.code = _as_text(state[1]) + target.code
            return
        _, shape, dtype, is_fortran, content = state
        code = dtype.code
        require(
            _NUMBERS.fullmatch(code),
            f"the pickle has an array of {code!r}: expected numbers",
        )
        flat = np.frombuffer(content, np.dtype(code))
        target.content = flat.reshape(shape, order="F" if is_fortran else "C")


_OPERATIONS: dict[str, Callable[[_Reader, Any], None]] = {
    "MARK": _Reader.mark,
    "MEMOIZE": _Reader.memoize,
    "EMPTY_LIST": _Reader.empty_list,
    "EMPTY_DICT": _Reader.empty_dict,
    "LIST": _Reader.make_list,
    "TUPLE": _Reader.make_tuple,
    "DICT": _Reader.make_dict,
    "APPEND": _Reader.append,
    "APPENDS": _Reader.appends,
    "SETITEM": _Reader.set_item,
    "SETITEMS": _Reader.set_items,
    "GLOBAL": _Reader.name,
    "STACK_GLOBAL": _Reader.name_on_stack,
    "REDUCE": _Reader.call,
    "BUILD": _Reader.build,
}


def _as_text(value: Any) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def _filled(value: Any) -> Any:
    """Return a value, or the dict of values, with arrays in place of those that were unfilled."""
    if type(value) is dict:
        return {key: _array_of(item) for key, item in value.items()}
    return _array_of(value)


def _array_of(value: Any) -> Any:
    return value.content if type(value) is _Unfilled else value
