"""Read pickled arrays without running what a pickle may carry."""

import os
import pickle
import re
from collections import OrderedDict
from typing import Any

import numpy as np

# Signed, unsigned, float and complex numbers, booleans, bytes, text.
_DTYPE_CODE = re.compile(r'[<>=|]?[biufcSU?][0-9]*')


class UnsafePickleError(ValueError):
    """A pickle asks for something that is no array or plain container."""


class _ArrayClass:
    """Stands for ``numpy.ndarray``, which a pickle may name, not call."""

    __slots__ = ()


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
        super().__setstate__(
            (1, shape, _real(dtype), bool(fortran), _bytes(raw))
        )


class _Reconstruct:
    """An empty array, to be filled by its pickled state."""

    __slots__ = ()

    def __call__(self, kind: Any, shape: Any, dtype: Any) -> np.ndarray:
        if kind is not _ARRAY:
            raise UnsafePickleError('it asks for a special array class')
        return np.empty(0, dtype=np.int8).view(_Array)


class _FromBuffer:
    """An array over pickled bytes (protocol 5)."""

    __slots__ = ()

    def __call__(
        self, buffer: Any, dtype: Any, shape: Any, order: Any
    ) -> np.ndarray:
        values = np.frombuffer(_bytes(buffer), dtype=_real(dtype))
        return values.reshape(shape, order=order)


class _Scalar:
    """A numpy number."""

    __slots__ = ()

    def __call__(self, dtype: Any, data: Any) -> Any:
        return np.frombuffer(_bytes(data), dtype=_real(dtype))[0]


class _Encode:
    """Bytes as Python 3 writes them for Python 2."""

    __slots__ = ()

    def __call__(self, text: Any, encoding: Any) -> bytes:
        if encoding not in ('latin1', 'latin-1'):
            raise UnsafePickleError(
                f'expected latin1 bytes, got encoding {encoding!r}'
            )
        return text.encode('latin1')


def _real(dtype: Any) -> np.dtype:
    if not isinstance(dtype, _Dtype):
        raise UnsafePickleError('it holds an array of an unknown kind')
    return dtype.real()


def _bytes(raw: Any) -> bytes | bytearray:
    if isinstance(raw, str):  # as Python 2 wrote bytes
        return raw.encode('latin1')
    if not isinstance(raw, bytes | bytearray):
        raise UnsafePickleError('it holds an array of objects')
    return raw


_ARRAY = _ArrayClass()
_ALLOWED: dict[tuple[str, str], Any] = {
    ('numpy', 'ndarray'): _ARRAY,
    ('numpy', 'dtype'): _Dtype,
    ('_codecs', 'encode'): _Encode(),
    ('collections', 'OrderedDict'): OrderedDict,
}
for _core in ('numpy.core', 'numpy._core'):
    _ALLOWED[f'{_core}.multiarray', '_reconstruct'] = _Reconstruct()
    _ALLOWED[f'{_core}.multiarray', 'scalar'] = _Scalar()
    _ALLOWED[f'{_core}.numeric', '_frombuffer'] = _FromBuffer()
for _builtins in ('builtins', '__builtin__'):
    for _container in (set, frozenset, list, dict, tuple, int, bytes):
        _ALLOWED[_builtins, _container.__name__] = _container


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise UnsafePickleError(f'it asks for {module}.{name}')
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> Any:
        raise UnsafePickleError('it asks for a persistent object')


def load_arrays(path: str | os.PathLike[str]) -> Any:
    """Unpickle a file that holds numpy arrays and plain containers.

    Nothing else is constructed, imported or called: numpy arrays, numbers and
    dtypes, dict, list, tuple, set, str, bytes and numbers. Files written by
    Python 2 are read as latin1.

    Args:
        path: The pickle.

    Returns:
        What it holds.

    Raises:
        UnsafePickleError: (a ValueError) if it asks for anything else, which
            is refused before it runs.
        ValueError: if it cannot be read.
    """
    try:
        with open(path, 'rb') as file:
            return _ArrayUnpickler(file, encoding='latin1').load()
    except UnsafePickleError as error:
        raise UnsafePickleError(
            'expected a pickle of numpy arrays and plain containers, got '
            f'{os.fspath(path)}: {error}. It was refused and nothing in it '
            'was run; get the file from a source you trust'
        ) from error
    except Exception as error:  # broken pickles raise many kinds
        raise ValueError(
            f'expected a readable pickle, got {os.fspath(path)}: '
            f'{type(error).__name__}: {error}; get the file again'
        ) from error
