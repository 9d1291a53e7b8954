import builtins
import io
import os
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest

from ahpcl.datasets.safe_pickle import UnsafePickleError, load_arrays


def load(tmp_path, data):
    path = tmp_path / 'x.pkl'
    path.write_bytes(data)
    return load_arrays(path)


class Calls:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def named(module, name, argument):
    """A pickle that calls module.name(argument), whatever it is."""
    out = io.BytesIO()
    out.write(pickle.PROTO + b'\x02')
    out.write(pickle.GLOBAL + f'{module}\n{name}\n'.encode())
    raw = argument.encode()
    out.write(pickle.BINUNICODE + struct.pack('<I', len(raw)) + raw)
    out.write(pickle.TUPLE1 + pickle.REDUCE + pickle.STOP)
    return out.getvalue()


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize('order', ['C', 'F'])
def test_arrays_and_containers_come_through(tmp_path, protocol, order):
    content = {
        'image_data': np.arange(24, dtype=np.uint8).reshape(2, 4, 3),
        'big': np.asarray(np.arange(6.0).reshape(2, 3), order=order),
        'swapped': np.arange(3, dtype='>i4'),
        'text': np.array(['ab', 'c']),
        'empty': np.zeros((0, 3), np.float32),
        'class_dict': OrderedDict(a=[0, 1], b=(2,)),
        'number': np.int64(7),
        'set': {1, 2},
        'bytes': b'\x00\xff',
    }
    got = load(tmp_path, pickle.dumps(content, protocol=protocol))
    assert got.keys() == content.keys()
    for key in ('image_data', 'big', 'swapped', 'text', 'empty'):
        np.testing.assert_array_equal(got[key], content[key])
        # numpy turns foreign byte orders into the machine's own
        assert got[key].dtype.str[1:] == content[key].dtype.str[1:]
    for key in ('class_dict', 'number', 'set', 'bytes'):
        assert got[key] == content[key]


def test_python_2_pickle(tmp_path):
    # protocol 2 of {'x': array([200, 3], dtype=uint8)} as Python 2 wrote it
    data = (
        b'\x80\x02}U\x01xcnumpy.core.multiarray\n_reconstruct\ncnumpy\n'
        b'ndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\n'
        b'U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff'
        b'\xff\xffK\x00tb\x89U\x02\xc8\x03tbs.'
    )
    got = load(tmp_path, data)['x']
    assert got.dtype == np.uint8
    assert got.tolist() == [200, 3]


def test_os_system_is_not_run(tmp_path):
    mark = tmp_path / 'ran'
    data = pickle.dumps(Calls(os.system, f'touch {mark}'))
    with pytest.raises(UnsafePickleError, match=r'posix\.system.*refused'):
        load(tmp_path, data)
    assert not mark.exists()
    pickle.loads(data)  # the payload is a real one
    assert mark.exists()


@pytest.mark.parametrize('call', [eval, exec, getattr, __import__])
def test_builtins_are_not_run(tmp_path, call):
    data = pickle.dumps(Calls(call, '1'))
    with pytest.raises(UnsafePickleError, match=r'builtins\.'):
        load(tmp_path, data)
    assert call is getattr(builtins, call.__name__)


@pytest.mark.parametrize(
    ('module', 'name'),
    [
        ('numpy.f2py.crackfortran', 'myeval'),
        ('numpy.testing._private.utils', 'runstring'),
        ('numpy', 'load'),
        ('numpy', 'fromfile'),
        ('numpy', 'memmap'),
        ('numpy.core.multiarray', 'fromfile'),
        ('numpy._core.multiarray', 'frombuffer'),
        ('numpy.core', 'multiarray._reconstruct'),
        ('numpy', 'ndarray.tofile'),
        ('numpy.core.multiarray', '_reconstruct.__globals__'),
        ('collections', 'OrderedDict.__init__'),
        ('functools', 'partial'),
        ('operator', 'attrgetter'),
        ('pickle', 'loads'),
        ('__builtin__', 'eval'),
        ('nt', 'system'),
        ('subprocess', 'Popen'),
        ('torch', 'load'),
        ('copyreg', '_reconstructor'),
    ],
)
def test_gadgets_are_refused_by_name(tmp_path, module, name):
    with pytest.raises(UnsafePickleError, match='it asks for'):
        load(tmp_path, named(module, name, 'x'))


def test_other_codecs_are_refused(tmp_path):
    data = pickle.dumps(Calls(__import__('_codecs').encode, 'a', 'rot13'))
    with pytest.raises(UnsafePickleError, match='latin1'):
        load(tmp_path, data)


def test_object_arrays_are_refused(tmp_path):
    data = pickle.dumps(np.array([{}, []], dtype=object))
    with pytest.raises(UnsafePickleError, match="dtype 'O8'"):
        load(tmp_path, data)


def test_array_subclasses_are_refused(tmp_path):
    with pytest.raises(UnsafePickleError):
        load(tmp_path, pickle.dumps(np.ma.array([1, 2])))


def test_a_dtype_cannot_be_given_a_state_of_its_own(tmp_path):
    # flags that would make numpy take bytes for pointers to objects
    state = (3, '|', None, None, None, -1, -1, 63)
    dtype = Calls(np.dtype, 'u1', False, True)
    dtype.call = (*dtype.call, state)
    array = np.empty(0, np.uint8).__reduce__()[:2]
    hostile = Calls(*array[:1], *array[1])
    hostile.call = (*hostile.call, (1, (8,), dtype, False, b'\x41' * 8))
    got = load(tmp_path, pickle.dumps(hostile, protocol=4))
    assert got.dtype == np.uint8
    assert not got.dtype.hasobject
    assert got.tolist() == [0x41] * 8
    assert np.dtype('u1').flags == np.zeros(1, np.uint8).dtype.flags == 0


def test_sizes_that_do_not_fit_are_refused(tmp_path):
    array = np.empty(0, np.uint8).__reduce__()[:2]
    hostile = Calls(array[0], *array[1])
    dtype = np.dtype('u1')
    hostile.call = (*hostile.call, (1, (1 << 40,), dtype, False, b'abc'))
    with pytest.raises(ValueError, match='expected a readable pickle'):
        load(tmp_path, pickle.dumps(hostile))


def test_persistent_objects_are_refused(tmp_path):
    with pytest.raises(UnsafePickleError, match='persistent'):
        load(tmp_path, b'\x80\x02Px\n.')


@pytest.mark.parametrize('data', [b'', b'not a pickle', b'\x80\x04}'])
def test_broken_files(tmp_path, data):
    with pytest.raises(ValueError, match=r'readable pickle, got .*x\.pkl'):
        load(tmp_path, data)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r'none\.pkl'):
        load_arrays(tmp_path / 'none.pkl')
