"""Each fix: the symptom on the bare host, its absence, a healthy host."""

import json
import os
import pickle
import socket
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from PIL import Image

import mmselfsup_cases
from ahpcl import compat
from ahpcl.compat import (
    checkpoints,
    configs,
    distributed,
    loaders,
    packages,
    photometric,
    registries,
)
from ahpcl.compat.fix import Fix, settle
from ahpcl.compat.quiet import DROPPED

HELPERS = Path(__file__).parents[1] / 'helpers'

SYMPTOMS = {
    'hue_wrap': 'out of bounds for uint8',
    'pca_whitening': "unexpected keyword argument 'eigen_power'",
    'runner_registries': "No module named 'mmselfsup.engine.runner'",
    'scoped_functions': "unexpected keyword argument '_scope_'",
    'workerless_loaders': 'persistent_workers option needs num_workers > 0',
    'pkg_resources': 'pkg_resources',
    'pickled_checkpoints': 'Weights only load failed',
    'gloo_without_cuda': 'Found no NVIDIA driver|not compiled with CUDA|GPU',
    'gloo_under_slurm': 'by zero|Found no NVIDIA driver|GPU',
    'ddp_device_ids': 'device_ids',
    'sync_batch_norm': 'only work with GPU modules',
    'log_text': "'utf-8' codec can't encode",
}


def run_cases(*arguments: str, **environment: str) -> dict:
    """Runs the cases in a process of their own, on the CPU."""
    done = subprocess.run(
        [
            sys.executable,
            '-W',
            'ignore',
            HELPERS / 'mmselfsup_cases.py',
            *arguments,
        ],
        env={**os.environ, 'CUDA_VISIBLE_DEVICES': '', **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope='module')
def bare() -> dict:
    return run_cases()


@pytest.fixture(scope='module')
def patched() -> dict:
    return run_cases('--patched', AHPCL_TRUST_PICKLE='1')


@pytest.fixture(autouse=True)
def applied() -> None:
    compat.apply_all()


@pytest.mark.parametrize('case', SYMPTOMS)
def test_the_bare_host_shows_the_symptom(bare, case):
    # A host that has healed shows a value here: then drop the fix.
    assert 'error' in bare[case], bare[case]
    found = bare[case]['error']
    assert any(part in found for part in SYMPTOMS[case].split('|')), found


def test_every_fix_is_in_force_where_all_is_broken(patched):
    # That is of environments without mmselfsup (test_mmpretrain.py).
    names = {fix.name for fix in compat.FIXES} - {'former-scopes'}
    assert set(patched['applied']['value']) == names


@pytest.mark.parametrize('case', SYMPTOMS)
def test_the_patched_stack_works(patched, case):
    assert 'error' not in patched[case], patched[case]


def hue_by_hand(bgr: np.ndarray, backend: str) -> np.ndarray:
    """A shift of -0.1 turns, wrapped to 0 ... 255 in wide integers."""
    if backend == 'pillow':
        hsv = np.array(Image.fromarray(bgr[..., ::-1].copy()).convert('HSV'))
    else:
        hsv = cv2.cvtColor(bgr, cv2.COLOR_BGR2HSV_FULL)
    hsv[..., 0] = (hsv[..., 0].astype(int) - 25) % 256
    if backend == 'pillow':
        rgb = Image.merge(
            'HSV', [Image.fromarray(hsv[..., i].copy()) for i in range(3)]
        )
        return np.array(rgb.convert('RGB'))[..., ::-1]
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)


def test_hue_wraps_under_all_four_names(patched):
    values = np.array(patched['hue_wrap']['value'])
    for value in values[:4]:
        np.testing.assert_array_equal(
            value, hue_by_hand(mmselfsup_cases.image(), 'cv2')
        )
    np.testing.assert_array_equal(
        values[4], hue_by_hand(mmselfsup_cases.image(), 'pillow')
    )


def test_hue_errors_and_positive_shifts_stay_the_hosts():
    import mmcv

    image = mmselfsup_cases.image()
    with pytest.raises(ValueError, match='hue_factor'):
        mmcv.adjust_hue(image, -0.6)
    with pytest.raises(ValueError, match='backend'):
        mmcv.adjust_hue(image, -0.1, backend='tifffile')
    with pytest.raises(TypeError, match='ndarray'):
        mmcv.adjust_hue([[1]], -0.1)
    hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV_FULL)
    hsv[..., 0] = (hsv[..., 0].astype(int) + 25) % 256
    np.testing.assert_array_equal(
        mmcv.adjust_hue(image, 0.1), cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)
    )


def test_pca_whitening_equals_scikit_learns(patched):
    decomposition = pytest.importorskip('sklearn.decomposition')
    pca = decomposition.PCA(3, whiten=True, svd_solver='full')
    expected = pca.fit_transform(mmselfsup_cases.features().astype(np.float64))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    found = np.array(patched['pca_whitening']['value'])
    np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-3)


def test_values_of_the_patched_cases(patched):
    assert patched['scoped_functions']['value'] == [[1, 2], [3]]
    assert patched['workerless_loaders']['value'] == [[1, 2], [3]]
    assert patched['pkg_resources']['value'] == [200]
    assert patched['log_text']['value'] == ['caf\\udce9.jpg']
    assert patched['pickled_checkpoints']['value'] == [2.0]
    assert patched['gloo_without_cuda']['value'] == ['gloo', True]
    assert patched['gloo_under_slurm']['value'] == ['gloo', '0']
    assert patched['ddp_device_ids']['value'] == ['Linear']
    layers = patched['sync_batch_norm']['value']
    assert layers[0] == 'Linear' and 'Sync' not in layers[1]


def test_apply_all_is_idempotent():
    first = compat.apply_all()
    functions = (
        Runner.build_dataloader,
        CheckpointLoader.load_checkpoint.__func__,
        Config._get_cfg_path,
        len(sys.meta_path),
    )
    assert compat.apply_all() == first
    assert functions == (
        Runner.build_dataloader,
        CheckpointLoader.load_checkpoint.__func__,
        Config._get_cfg_path,
        len(sys.meta_path),
    )


def test_the_record_explains_every_fix():
    records = {record.name: record for record in compat.status()}
    assert list(records) == [fix.name for fix in compat.FIXES]
    for record in records.values():
        assert record.symptom and record.upstream and record.reason


@pytest.mark.parametrize(
    'fix', [f for f in compat.FIXES if f.name != 'pca-whitening']
)
def test_a_patched_stack_counts_as_healthy(fix):
    assert not fix.needed()


# A healthy host is left alone.


def test_healthy_hue_is_left_alone(monkeypatch):
    import mmcv

    def healthy(img, hue_factor, backend=None):
        return img

    monkeypatch.setattr(mmcv, 'adjust_hue', healthy)
    assert not settle(photometric.HUE_WRAP).applied
    assert mmcv.adjust_hue is healthy


def test_healthy_registries_are_left_alone(monkeypatch):
    from mmselfsup.registry import LOOPS

    monkeypatch.setattr(LOOPS, '_locations', ['mmselfsup.engine.loops'])
    assert not settle(registries.RUNNER_REGISTRIES).applied
    assert LOOPS._locations == ['mmselfsup.engine.loops']


def test_without_the_host_its_registries_do_not_matter(monkeypatch):
    monkeypatch.setattr(
        registries.importlib.util, 'find_spec', lambda name: None
    )
    assert not settle(registries.RUNNER_REGISTRIES).applied


def test_healthy_loaders_are_left_alone(monkeypatch):
    class Loader:
        collate_fn = None

    def healthy(*args, **kwargs):
        return Loader()

    monkeypatch.setattr(Runner, 'build_dataloader', staticmethod(healthy))
    assert not settle(loaders.SCOPED_FUNCTIONS).applied
    assert not settle(loaders.WORKERLESS_LOADERS).applied
    assert Runner.build_dataloader is healthy


def test_an_accelerator_needs_no_cpu_fixes(monkeypatch):
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cuda')
    monkeypatch.setattr(
        distributed.MMDistributedDataParallel,
        '__init__',
        torch.nn.parallel.DistributedDataParallel.__init__,
    )
    for fix in (
        distributed.GLOO_WITHOUT_CUDA,
        distributed.DDP_DEVICE_IDS,
        distributed.SYNC_BATCH_NORM,
    ):
        assert not settle(fix).applied


def test_a_host_that_asks_for_cuda_needs_no_gloo(monkeypatch):
    namespace: dict = {}
    source = (
        'def f(backend, **kwargs):\n'
        '    if is_cuda_available():\n'
        '        torch.cuda.set_device(0)\n'
    )
    exec(source, namespace)
    monkeypatch.setattr(distributed, 'get_device', lambda: 'cpu')
    for name in distributed._LAUNCHERS:
        monkeypatch.setattr(distributed.dist_utils, name, namespace['f'])
    assert not settle(distributed.GLOO_WITHOUT_CUDA).applied


def test_present_pkg_resources_are_left_alone(monkeypatch):
    monkeypatch.setattr(
        packages.package_utils, 'is_installed', lambda package: True
    )
    monkeypatch.setattr(
        packages.importlib.util, 'find_spec', lambda name: object()
    )
    assert not settle(packages.PKG_RESOURCES).applied


def test_a_healthy_faiss_is_left_alone():
    from ahpcl.compat.clustering import _patch

    class Faiss:
        def PCAMatrix(self, d_in, d_out, eigen_power=0.0):
            return d_in

    class Module:
        faiss = Faiss()

    before = Module.faiss
    _patch(Module)
    assert Module.faiss is before


def test_a_probe_that_no_longer_fits_switches_its_fix_off():
    def probe():
        raise AttributeError("no 'adjust_hue'")

    record = settle(Fix('gone', 's', 'u', probe, probe))
    assert not record.applied
    assert 'no longer fits' in record.reason and 'adjust_hue' in record.reason


# Loaders.


def test_loader_configs_are_copied_not_changed():
    config = ConfigDict(
        collate_fn=ConfigDict(type='default_collate', _scope_='mmselfsup'),
        persistent_workers=True,
        num_workers=0,
    )
    assert loaders.drop_scope(config).collate_fn == {'type': 'default_collate'}
    assert loaders.drop_persistence(config).persistent_workers is False
    assert config.collate_fn._scope_ == 'mmselfsup'
    assert config.persistent_workers is True
    busy = {'num_workers': 2, 'persistent_workers': True}
    assert loaders.drop_persistence(busy) is busy


# Checkpoints.


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.write_text, (self.path, 'boom')


def test_a_hostile_checkpoint_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.delenv(checkpoints.TRUST_VARIABLE, raising=False)
    trace = tmp_path / 'trace'
    path = tmp_path / 'hostile.pth'
    torch.save({'state_dict': {}, 'x': Bomb(trace)}, path)
    with pytest.raises(pickle.UnpicklingError) as caught:
        CheckpointLoader.load_checkpoint(str(path), 'cpu')
    message = str(caught.value)
    assert 'hostile.pth' in message
    assert 'run any code' in message
    assert 'AHPCL_TRUST_PICKLE=1' in message
    assert not trace.exists()
    assert 'TORCH_FORCE_WEIGHTS_ONLY_LOAD' not in os.environ


def test_the_refusal_names_the_object(tmp_path, monkeypatch):
    monkeypatch.delenv(checkpoints.TRUST_VARIABLE, raising=False)
    path = tmp_path / 'host.pth'
    torch.save({'loss': HistoryBuffer([1.0], [1])}, path)
    with pytest.raises(checkpoints.PickledCheckpointError) as caught:
        CheckpointLoader.load_checkpoint(str(path), 'cpu')
    assert 'HistoryBuffer' in str(caught.value)


@pytest.mark.parametrize(
    'variable', ['AHPCL_TRUST_PICKLE', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD']
)
def test_trust_is_explicit_and_warns(tmp_path, monkeypatch, variable):
    monkeypatch.setenv(variable, '1')
    path = tmp_path / 'host.pth'
    torch.save({'loss': HistoryBuffer([1.0, 3.0], [1, 1])}, path)
    with pytest.warns(UserWarning, match='runs any code'):
        loaded = CheckpointLoader.load_checkpoint(str(path), 'cpu')
    assert loaded['loss'].mean() == 2.0
    assert os.environ[variable] == '1'


def test_plain_checkpoints_load_in_silence(tmp_path, monkeypatch):
    monkeypatch.delenv(checkpoints.TRUST_VARIABLE, raising=False)
    path = tmp_path / 'plain.pth'
    torch.save({'state_dict': {'w': torch.arange(3)}}, path)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        loaded = CheckpointLoader.load_checkpoint(str(path), 'cpu')
    assert loaded['state_dict']['w'].tolist() == [0, 1, 2]


def test_a_missing_checkpoint_is_the_hosts_own_error(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'nowhere.pth'))


# Packages.


def test_packages_are_found_by_either_name():
    import mmcv
    import mmselfsup

    for name in ('mmselfsup', 'mmcv', 'mmcv-lite', 'torch', 'json'):
        assert packages.is_installed(name), name
    assert not packages.is_installed('no-such-package')
    path = packages.get_installed_path
    assert path('mmselfsup') == str(Path(mmselfsup.__file__).parent)
    if any(d.name == 'mmcv-lite' for d in metadata.distributions()):
        assert path('mmcv-lite') == str(Path(mmcv.__file__).parent)
    with pytest.raises(metadata.PackageNotFoundError):
        path('no-such-package')


def test_the_replacement_agrees_with_pkg_resources():
    pytest.importorskip('pkg_resources')
    script = (
        'from mmengine.utils import get_installed_path, is_installed\n'
        "for name in ('mmselfsup', 'mmcls', 'mmengine', 'no-such'):\n"
        '    found = is_installed(name)\n'
        '    print(found, get_installed_path(name) if found else None)\n'
    )
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', script],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = []
    for name in ('mmselfsup', 'mmcls', 'mmengine', 'no-such'):
        found = packages.is_installed(name)
        path = packages.get_installed_path(name) if found else None
        expected.append(f'{found} {path}')
    assert done.stdout.splitlines()[-4:] == expected


def test_two_owners_of_mmcv_are_told_apart(monkeypatch):
    both = {'mmcv', 'mmcv-lite'}
    monkeypatch.setattr(packages, '_is_distributed', both.__contains__)
    problem = packages.duplicate_mmcv()
    assert 'mmcv and mmcv-lite' in problem and '--no-deps' in problem
    monkeypatch.setattr(compat, '_RECORDS', {})
    monkeypatch.setattr(compat, 'FIXES', ())
    with pytest.warns(UserWarning, match='both installed'):
        compat.apply_all()
    monkeypatch.setattr(packages, '_is_distributed', {'mmcv'}.__contains__)
    assert packages.duplicate_mmcv() is None


# Configs.


@pytest.fixture
def shelf(tmp_path, monkeypatch) -> Path:
    """A folder of configs in place of the shipped ones."""
    root = tmp_path / 'configs'
    (root / '_base_').mkdir(parents=True)
    (root / '_base_' / 'model.py').write_text("model = dict(type='Toy')\n")
    (root / 'toy_main.py').write_text(
        "_base_ = 'ahpcl::_base_/model.py'\nlr = 1\n"
    )
    monkeypatch.setattr(configs, 'config_root', lambda: root)
    return root


def test_configs_inherit_without_a_scope_tag(shelf, tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(
        "_base_ = 'ahpcl::toy_main.py'\nextra = {{_base_.model}}\n"
    )
    cfg = Config.fromfile(path)
    assert cfg.lr == 1
    assert cfg.model == {'type': 'Toy'} and cfg.extra == {'type': 'Toy'}


def test_a_missing_config_names_its_neighbours(shelf, tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = 'ahpcl::toy_mian.py'\n")
    with pytest.raises(FileNotFoundError, match=r'toy_main\.py'):
        Config.fromfile(path)


def test_the_text_of_a_config_is_formatted_once_until_it_changes(monkeypatch):
    calls = []

    def format_code(text, **_):
        calls.append(text)
        return text, True

    monkeypatch.setattr('mmengine.config.config.FormatCode', format_code)
    config = Config(dict(model=dict(size=3), names=['a']))
    original = Config.pretty_text.fget.__wrapped__
    assert config.pretty_text == original(config)
    assert config.pretty_text == Config(config._cfg_dict).pretty_text
    assert len(calls) == 2  # one of them the original's
    for change in (dict(size=4), dict(size='4')):
        config.model.update(change)
        assert config.pretty_text == original(config)
    assert len(calls) == 6


def test_other_bases_stay_the_hosts(shelf, tmp_path):
    (tmp_path / 'base.py').write_text('a = 1\n')
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = './base.py'\n")
    assert Config.fromfile(path).a == 1
    path.write_text("_base_ = 'nobody::x.py'\n")
    with pytest.raises(ValueError, match='get external package'):
        Config.fromfile(path)


def test_configs_are_found_in_checkout_and_package(tmp_path, monkeypatch):
    package = tmp_path / 'projects' / 'ahpcl'
    (package / 'compat').mkdir(parents=True)
    monkeypatch.setattr(
        configs, '__file__', str(package / 'compat' / 'configs.py')
    )
    assert configs.config_root() == package / '.mim' / 'configs'
    (tmp_path / 'pyproject.toml').touch()
    assert configs.config_root() == tmp_path / 'configs'


LEFT = """
import atexit, os, sys
import torch.distributed as dist
from mmengine.dist import init_dist
if sys.argv[1] == 'patched':
    from ahpcl import compat
    assert 'process-group-left' in compat.apply_all()
os.environ.update(RANK='0', WORLD_SIZE='1', LOCAL_RANK='0')
os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=sys.argv[2])
# Run last at the exit, as the first one registered.
atexit.register(lambda: print('open:', dist.is_initialized()))
import torch
torch.cuda.set_device = lambda device: None
init_dist('pytorch', 'gloo')
"""


@pytest.mark.parametrize('state', ['bare', 'patched'])
def test_the_process_group_ends_before_the_interpreter(state):
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    done = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', LEFT, state, str(port)],
        env={**os.environ, 'CUDA_VISIBLE_DEVICES': ''},
        capture_output=True,
        text=True,
        timeout=120,
    )
    expected = 'open: True' if state == 'bare' else 'open: False'
    assert expected in done.stdout.splitlines(), done.stdout + done.stderr


# ---- warnings ------------------------------------------------------------


def imported(*modules):
    """Imports modules in a process of their own; returns what is said."""
    done = subprocess.run(
        [sys.executable, '-c', f'import {", ".join(modules)}'],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONWARNINGS': 'default'},
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.slow  # two fresh interpreters import torch
def test_an_operator_that_nothing_uses_is_no_warning():
    transformer = 'mmcv.cnn.bricks.transformer'
    assert 'MultiScaleDeformableAttention' in imported(transformer)
    said = imported('ahpcl', transformer)
    assert 'Warning' not in said


def test_only_what_nothing_uses_is_dropped():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('default')
        with compat.quiet_imports():
            warnings.warn('of another', stacklevel=1)
            with warnings.catch_warnings():  # as torch does
                warnings.simplefilter('always')
                for text in (*DROPPED, 'of a third'):
                    warnings.warn(text, DeprecationWarning, stacklevel=1)
    said = [str(one.message) for one in caught]
    assert said == ['of another', 'of a third']


def test_warnings_are_shown_where_an_import_fails():
    with (
        pytest.warns(UserWarning, match='of another'),
        pytest.raises(ImportError),
        compat.quiet_imports(),
    ):
        warnings.warn('of another', stacklevel=1)
        raise ImportError
