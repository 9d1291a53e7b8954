import builtins
import io
import os
import pickle
import resource
import signal
import struct
from collections import OrderedDict
from pathlib import Path

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
    with pytest.raises(ValueError, match='readable pickle'):
        load(tmp_path, pickle.dumps(hostile))


def test_persistent_objects_are_refused(tmp_path):
    with pytest.raises(UnsafePickleError, match='persistent'):
        load(tmp_path, b'\x80\x02Px\n.')


@pytest.mark.parametrize('data', [b'', b'not a pickle', b'\x80\x04}'])
def test_broken_files(tmp_path, data):
    with pytest.raises(ValueError, match=r'readable pickle.*x\.pkl'):
        load(tmp_path, data)


def test_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r'none\.pkl'):
        load_arrays(tmp_path / 'none.pkl')


# ---- small files that would grow --------------------------------------------


def doubled(times, start=b'N'):
    """A tuple that holds one thing twice, and so on: 2 ** times ends."""
    return start + b'2\x86' * times


def call(module, name, arguments):
    """A call whose arguments are given as opcodes."""
    return b'c' + f'{module}\n{name}\n'.encode() + arguments + b'R'


def names(count):
    """A list of names, opcodes."""
    texts = (f'{i}'.encode() for i in range(count))
    return b'](' + b''.join(b'U%c' % len(t) + t for t in texts) + b'e'


def whole(opcodes):
    return b'\x80\x05' + opcodes + b'.'


MEBI = 2**20
TEXT = b'X' + struct.pack('<I', MEBI) + b'x' * MEBI
GROWING = {
    'a doubled tuple as a key': b'}' + doubled(60) + b'Ns',
    'the same in a dict by DICT': b'(' + doubled(60) + b'Nd',
    'the same in many': b'}(' + doubled(60) + b'Nu',
    'the same in a set': b'\x8f(' + doubled(60) + b'\x90',
    'the same in a frozenset': b'(' + doubled(60) + b'\x91',
    'the same by set()': call(
        'builtins', 'set', b'](' + doubled(60) + b'e\x85'
    ),
    'the same in an OrderedDict': call(
        'collections', 'OrderedDict', b'](' + doubled(60) + b'N\x86e\x85'
    ),
    'a frozenset of it in a class': b'cbuiltins\nfrozenset\n]('
    + doubled(60)
    + b'e\x85\x81',
    'list(bytes(n))': call(
        'builtins',
        'list',
        call('builtins', 'bytes', b'J\x00\x5a\x62\x02\x85') + b'\x85',
    ),
    'bytes(n)': call('builtins', 'bytes', b'J\x00\x00\x00\x7f\x85'),
    'a bytearray that is not there': b'\x96' + struct.pack('<Q', 2**34),
    'bytes that are not there': b'\x8e' + struct.pack('<Q', 2**40),
    'a frame that is not there': b'\x95' + struct.pack('<Q', 2**40),
    'a far place in the memo': b'Nr\xf0\xff\xff\x7f',
    'a doubled tuple as a value': b'}U\x04dataN' + b'2\x86' * 60 + b's',
    'a list within itself': b']q\x01h\x01a',
    'one text encoded again and again': b'c_codecs\nencode\nq\x01'
    + TEXT
    + b'U\x06latin1\x86q\x02'
    + b'h\x01h\x02R' * 5000,
    'one set again and again': b'cbuiltins\nset\nq\x01'
    + names(5000)
    + b'\x85q\x02'
    + b'h\x01h\x02R' * 5000,
    'one text as a key again and again': TEXT + b'q\x01}(h\x01Nu',
    'a long number as a key': b'}\x8b'
    + struct.pack('<i', MEBI)
    + b'\x01' * MEBI
    + b'Ns',
    'numbers of one hash': b'}('
    + b''.join(
        b'\x8a\x0b' + (i * (2**61 - 1)).to_bytes(11, 'little') + b'N'
        for i in range(30000)
    )
    + b'u',
    'numbers of one hash in 8 bytes': b'\x8f('
    + b''.join(b'G' + struct.pack('>d', 2.0**e) for e in range(-999, 999))
    + b'\x90',
    'a tuple for arguments of bytes': b'cbuiltins\nset\n'
    + TEXT.replace(b'X', b'B', 1)
    + b'R',
}
GROWING = {name: whole(opcodes) for name, opcodes in GROWING.items()}


@pytest.fixture
def little():
    """A second, and 64 MiB more than there are."""

    def late(*_):
        raise AssertionError('it takes too long')

    size = int(Path('/proc/self/statm').read_text().split()[0])
    size *= resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, late)
    resource.setrlimit(resource.RLIMIT_AS, (size + 64 * MEBI, before[1]))
    signal.setitimer(signal.ITIMER_REAL, 3)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, handler)
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize('name', GROWING)
def test_small_files_do_not_grow(tmp_path, little, name):
    with pytest.raises(ValueError, match=r'got .*x\.pkl: ') as caught:
        load(tmp_path, GROWING[name])
    assert 'MemoryError' not in str(caught.value)
    assert 'too long' not in str(caught.value)


def test_shapes_of_nothing_are_short(tmp_path):
    for shape in ((1 << 40, 0, 1, 3), (0, 1 << 40)):
        array = np.empty(shape, np.uint8)
        for protocol in (2, 5):
            with pytest.raises(ValueError, match='another shape'):
                load(tmp_path, pickle.dumps(array, protocol))


def test_what_is_shared_in_measure_comes_through(tmp_path):
    names = ['n01', 'n02']
    content = {2.5: frozenset('ab'), 'text': names, None: 1.5}
    content.update({i: [names, names] for i in range(5000)})
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert load(tmp_path, pickle.dumps(content, protocol)) == content
