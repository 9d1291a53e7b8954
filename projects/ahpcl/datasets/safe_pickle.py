"""Read pickled arrays without running what a pickle may carry.

Time and memory are bounded by the length of the file: what a pickle makes out
of few bytes, by naming one thing many times, is counted.
"""

import bz2
import gzip
import io
import lzma
import math
import os
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO, ClassVar

import numpy as np

from ahpcl.utils.file_kind import kind_of

# Signed, unsigned, float and complex numbers, booleans, bytes, text.
_DTYPE_CODE = re.compile(r'[<>=|]?[biufcSU?][0-9]*')
_KEY_LENGTH = 4096  # longest name
_KEY_BITS = 64  # largest number
# Numbers can be chosen so that all fall into one place of a hash table. Few
# of them do no harm, nor do small ones; names are hashed with a secret.
_FEW = 1000
_SMALL = 2**20
_EMPTY = 2**16  # longest axis beside one of length 0
_AXES = 64
# A packed pickle is unpacked to so many times its length at most; images and
# features shrink by far less.
_MOST_UNPACKED = 50
_UNPACK = {
    'a gzip file': gzip.open,
    'a bzip2 file': bz2.open,
    'an xz file': lzma.open,
}


class UnsafePickleError(ValueError):
    """A pickle asks for something that is no array or plain container."""


class _Named:
    """Stands for what a pickle may name, and call if `make` is given.

    No class is handed out: pickles can make objects of those in other ways.
    """

    __slots__ = ('make',)

    def __init__(self, make: Callable[..., Any] | None = None) -> None:
        self.make = make


class _Dtype:
    """A dtype by its code, such as 'u1', with a byte order.

    numpy's own dtype believes whatever state it is given, flags included, so
    a pickle never gets hold of one.
    """

    __slots__ = ('_code', '_order')

    def __init__(self, code: Any = None, *flags: Any) -> None:
        if not isinstance(code, str) or not _DTYPE_CODE.fullmatch(code):
            raise UnsafePickleError(f'it asks for dtype {code!r}')
        self._order, self._code = '=', code
        if code[0] in '<>=|':
            self._order, self._code = code[0], code[1:]

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and state[1:] else None
        if order not in ('<', '>', '=', '|'):
            raise UnsafePickleError(f'it asks for byte order {order!r}')
        self._order = order

    def real(self) -> np.dtype:
        return np.dtype(self._order + self._code)


class _Array(np.ndarray):
    """An array that takes its pickled state only if it is plain."""

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise UnsafePickleError('it holds an array of an unknown kind')
        shape, dtype, fortran, raw = state[-4:]
        raw = _bytes(raw)
        _check_shape(shape, raw)
        super().__setstate__((1, shape, _real(dtype), bool(fortran), raw))


def _real(dtype: Any) -> np.dtype:
    if not isinstance(dtype, _Dtype):
        raise UnsafePickleError('it holds an array of an unknown kind')
    real = dtype.real()
    if real.itemsize == 0:
        raise UnsafePickleError(f'it asks for dtype {real.str!r}')
    return real


def _bytes(raw: Any) -> bytes | bytearray:
    if isinstance(raw, str):  # as Python 2 wrote bytes
        return raw.encode('latin1')
    if not isinstance(raw, bytes | bytearray):
        raise UnsafePickleError('it holds an array of objects')
    return raw


def _check_shape(shape: Any, raw: bytes | bytearray) -> None:
    """Refuse shapes that do not fit, also those of empty arrays."""
    if (
        not isinstance(shape, tuple)
        or len(shape) > _AXES
        or not all(isinstance(n, int) and 0 <= n < 2**63 for n in shape)
        or math.prod(max(n, 1) for n in shape) > max(len(raw), _EMPTY)
    ):
        raise ValueError(f'an array of {len(raw)} bytes has another shape')


def _check_key(key: Any, held: int) -> None:
    """Refuse what takes long to hash or to compare.

    Args:
        key: Key of a dict, or a member of a set.
        held: Number of keys that there are already.
    """
    if key is None:
        return
    if isinstance(key, str | bytes):
        if len(key) > _KEY_LENGTH:
            raise UnsafePickleError(f'it has a key of length {len(key)}')
    elif not isinstance(key, int | float | np.number | np.bool_):
        raise UnsafePickleError(
            f'it has a key that is {type(key).__name__}, not a name or number'
        )
    elif isinstance(key, int) and key.bit_length() > _KEY_BITS:
        raise UnsafePickleError(f'it has a key of {key.bit_length()} bits')
    elif held >= _FEW and not (isinstance(key, int) and 0 <= key < _SMALL):
        raise UnsafePickleError(
            f'it has large numbers as keys beside {held} others'
        )


def _set_items(target: Any, items: Iterable[tuple[Any, Any]]) -> None:
    for key, value in items:
        _check_key(key, len(target))
        target[key] = value


def _add_items(target: set[Any], items: list[Any]) -> None:
    for item in items:
        _check_key(item, len(target))
        target.add(item)


def _pairs(items: list[Any]) -> Iterable[tuple[Any, Any]]:
    return zip(items[::2], items[1::2], strict=True)


class _Memo(dict[int, Any]):
    """Objects that a pickle may refer to again, by small numbers."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def __setitem__(self, place: int, value: Any) -> None:
        if place >= self.size:
            raise ValueError(f'number {place} in {self.size} bytes')
        super().__setitem__(place, value)


class _Bounded:
    """A file that refuses to read more than it has."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.readline = file.readline

    def read(self, count: int) -> bytes:
        if count > self.size:
            raise EOFError(f'{count} bytes of {self.size}')
        return self.file.read(count)


# The one in Python: that in C hashes keys and fills its memo before anything
# here is asked.
class _ArrayUnpickler(pickle._Unpickler):
    """Makes arrays and plain containers, in proportion to the file."""

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch}

    def __init__(self, file: BinaryIO, size: int) -> None:
        super().__init__(_Bounded(file, size), encoding='latin1')
        self.memo = _Memo(size)
        self._size = size
        # Bytes are copied twice at most: from text, and into an array.
        self._budget = 4 * size + 2**20
        allowed: dict[tuple[str, str], _Named] = {
            ('numpy', 'ndarray'): _ARRAY,
            ('numpy', 'dtype'): _Named(_Dtype),
            ('_codecs', 'encode'): _Named(self._encode),
            ('collections', 'OrderedDict'): _Named(self._ordered),
        }
        for core in ('numpy.core', 'numpy._core'):
            array = f'{core}.multiarray'
            allowed[array, '_reconstruct'] = _Named(_reconstruct)
            allowed[array, 'scalar'] = _Named(self._scalar)
            allowed[f'{core}.numeric', '_frombuffer'] = _Named(self._buffer)
        for builtins in ('builtins', '__builtin__'):
            allowed[builtins, 'bytes'] = _Named(_no_bytes)
            allowed[builtins, 'set'] = _Named(self._set)
            allowed[builtins, 'frozenset'] = _Named(
                lambda *items: frozenset(self._set(*items))
            )
        self._allowed = allowed

    def read_all(self) -> Any:
        """Return what the file holds.

        Raises:
            UnsafePickleError: if it asks for anything else.
            Exception: any of many kinds, if the file is broken.
        """
        value = self.load()
        _check_unfolded(value, 4 * self._size + 2**20)
        return value

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise UnsafePickleError(f'it asks for {module}.{name}')
        return self._allowed[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise UnsafePickleError('it asks for a persistent object')

    # ---- what may be called --------------------------------------------

    def _spend(self, count: int) -> None:
        self._budget -= count
        if self._budget < 0:
            raise UnsafePickleError(
                f'it makes far more than its {self._size} bytes'
            )

    def _encode(self, text: str, encoding: Any) -> bytes:
        """Return bytes as Python 3 writes them for Python 2."""
        if encoding not in ('latin1', 'latin-1'):
            raise UnsafePickleError(
                f'expected latin1 bytes, got encoding {encoding!r}'
            )
        self._spend(len(text))
        return text.encode('latin1')

    def _scalar(self, dtype: Any, data: Any) -> Any:
        """Return a numpy number."""
        self._spend(len(data))
        return np.frombuffer(_bytes(data), dtype=_real(dtype))[0]

    def _buffer(
        self, buffer: Any, dtype: Any, shape: Any, order: Any
    ) -> np.ndarray:
        """Return an array over pickled bytes (protocol 5)."""
        self._spend(len(buffer))
        raw = _bytes(buffer)
        _check_shape(shape, raw)
        values = np.frombuffer(raw, dtype=_real(dtype))
        return values.reshape(shape, order=order)

    def _set(self, items: Any = ()) -> set[Any]:
        made: set[Any] = set()
        _add_items(made, self._listed(items))
        return made

    def _ordered(self, items: Any = ()) -> OrderedDict[Any, Any]:
        """Return an empty object, or one of pairs, as Python 2 wrote it."""
        pairs = self._listed(items)
        if not all(isinstance(p, list | tuple) and len(p) == 2 for p in pairs):
            raise UnsafePickleError('it has an OrderedDict of no pairs')
        made: OrderedDict[Any, Any] = OrderedDict()
        _set_items(made, pairs)
        return made

    def _listed(self, items: Any) -> list[Any]:
        if not isinstance(items, list) and items != ():
            raise UnsafePickleError(
                f'it makes a container of {type(items).__name__}, not a list'
            )
        self._spend(16 * len(items))
        return list(items)

    # ---- opcodes -------------------------------------------------------

    def _load_reduce(self) -> None:
        arguments = self.stack.pop()
        named = self.stack[-1]
        if not isinstance(named, _Named) or named.make is None:
            raise UnsafePickleError('it calls what is not to be called')
        if not isinstance(arguments, tuple):
            raise UnsafePickleError('it calls without a tuple')
        self.stack[-1] = named.make(*arguments)

    def _load_build(self) -> None:
        state = self.stack.pop()
        made = self.stack[-1]
        if not isinstance(made, _Array | _Dtype):
            raise UnsafePickleError(
                f'it gives a state to {type(made).__name__}'
            )
        if isinstance(made, _Array) and isinstance(state, tuple) and state:
            self._spend(len(state[-1]))
        made.__setstate__(state)

    def _load_dict(self) -> None:
        items = self.pop_mark()
        made: dict[Any, Any] = {}
        _set_items(made, _pairs(items))
        self.append(made)

    def _load_setitem(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        _set_items(self._last(dict), [(key, value)])

    def _load_setitems(self) -> None:
        items = self.pop_mark()
        _set_items(self._last(dict), _pairs(items))

    def _load_frozenset(self) -> None:
        made: set[Any] = set()
        _add_items(made, self.pop_mark())
        self.append(frozenset(made))

    def _load_additems(self) -> None:
        items = self.pop_mark()
        _add_items(self._last(set), items)

    def _load_append(self) -> None:
        value = self.stack.pop()
        self._last(list).append(value)

    def _load_appends(self) -> None:
        items = self.pop_mark()
        self._last(list).extend(items)

    def _load_bytearray(self) -> None:
        (count,) = struct.unpack('<Q', self.read(8))
        self.append(bytearray(self.read(count)))

    def _last(self, kind: type) -> Any:
        last = self.stack[-1]
        if not isinstance(last, kind):
            raise UnsafePickleError(
                f'it fills {type(last).__name__} as if it were a '
                f'{kind.__name__}'
            )
        return last

    def _refuse(self) -> None:
        raise UnsafePickleError('it asks for objects of other classes')

    dispatch[pickle.REDUCE[0]] = _load_reduce
    dispatch[pickle.BUILD[0]] = _load_build
    dispatch[pickle.DICT[0]] = _load_dict
    dispatch[pickle.SETITEM[0]] = _load_setitem
    dispatch[pickle.SETITEMS[0]] = _load_setitems
    dispatch[pickle.FROZENSET[0]] = _load_frozenset
    dispatch[pickle.ADDITEMS[0]] = _load_additems
    dispatch[pickle.APPEND[0]] = _load_append
    dispatch[pickle.APPENDS[0]] = _load_appends
    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray
    for _code in (
        *(pickle.INST, pickle.OBJ, pickle.NEWOBJ, pickle.NEWOBJ_EX),
        *(pickle.EXT1, pickle.EXT2, pickle.EXT4),
        *(pickle.NEXT_BUFFER, pickle.READONLY_BUFFER),
    ):
        dispatch[_code[0]] = _refuse


_ARRAY = _Named()


def _reconstruct(kind: Any, shape: Any, dtype: Any) -> np.ndarray:
    """Return an empty array, to be filled by its pickled state."""
    if kind is not _ARRAY:
        raise UnsafePickleError('it asks for a special array class')
    return np.empty(0, dtype=np.int8).view(_Array)


def _no_bytes(*arguments: Any) -> bytes:
    """Return what Python 3 writes for no bytes at all, for Python 2."""
    if arguments:
        raise UnsafePickleError('it calls bytes')
    return b''


def _parts(value: Any) -> list[Any] | None:
    """Return values of a container, None for anything else."""
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return list(value)
    return None


def _check_unfolded(value: Any, limit: int) -> None:
    """Refuse containers that are small but huge to walk through.

    A list may hold one list twice, that another twice, and so on.

    Args:
        value: Containers of anything.
        limit: Limit of what there would be if nothing were shared: bytes of
            arrays, and one for all else.
    """
    sizes: dict[int, int | None] = {}  # by id, None while being counted
    waiting = [(value, False)]
    while waiting:
        holder, counted = waiting.pop()
        parts = _parts(holder)
        if parts is None:
            continue
        if counted:
            size = 1 + len(parts)
            for part in parts:
                if isinstance(part, np.ndarray):
                    size += part.nbytes
                else:
                    size += sizes.get(id(part)) or 0
            if size > limit:
                raise UnsafePickleError(
                    'it holds the same things again and again'
                )
            sizes[id(holder)] = size
        elif id(holder) not in sizes:
            sizes[id(holder)] = None
            waiting.append((holder, True))
            waiting += [(part, False) for part in parts]
        elif sizes[id(holder)] is None:
            raise UnsafePickleError('it holds a container within itself')


def load_arrays(path: str | os.PathLike[str]) -> Any:
    """Unpickle a file that holds numpy arrays and plain containers.

    Nothing else is constructed, imported or called: numpy arrays, numbers and
    dtypes, dict, list, tuple, set, str, bytes and numbers. Keys of dicts and
    members of sets are names and numbers. Files written by Python 2 are read
    as latin1, and those packed by gzip, bzip2 or xz as well. Takes time and
    memory in proportion to the file.

    Args:
        path: The pickle.

    Returns:
        What it holds.

    Raises:
        UnsafePickleError: (a ValueError) if it asks for anything else, which
            is refused before it runs, or would grow far beyond its length.
        ValueError: if it cannot be read.
    """
    try:
        with open(path, 'rb') as file:
            size = os.fstat(file.fileno()).st_size
            if (unpack := _UNPACK.get(kind_of(path))) is not None:
                raw = _unpacked(path, unpack, size)
                return _ArrayUnpickler(io.BytesIO(raw), len(raw)).read_all()
            return _ArrayUnpickler(file, size).read_all()
    except UnsafePickleError as error:
        raise UnsafePickleError(
            'expected a pickle of numpy arrays and plain containers, got '
            f'{os.fspath(path)}: {error}. It was refused and nothing in it '
            'was run; get the file from a source you trust'
        ) from error
    except Exception as error:  # broken pickles raise many kinds
        raise ValueError(
            f'expected a readable pickle, got {os.fspath(path)}: '
            f'{type(error).__name__}: {error}{_found(path)}; get the file '
            'again'
        ) from error


def _unpacked(path: Any, unpack: Callable[..., Any], size: int) -> bytes:
    most = _MOST_UNPACKED * size + 2**20
    with unpack(path, 'rb') as packed:
        raw = packed.read(most + 1)
    if len(raw) > most:
        raise UnsafePickleError(
            f'it unpacks to more than {_MOST_UNPACKED} times its {size} bytes'
        )
    return raw


def _found(path: Any) -> str:
    """Say what a file is that is no pickle; empty where that is unknown."""
    try:
        kind = kind_of(path)
    except OSError:
        return ''
    known = kind not in ('a pickle', 'a file of an unknown kind', 'text')
    return f'; it is {kind}' if known else ''
