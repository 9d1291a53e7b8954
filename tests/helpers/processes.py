"""Processes that have torch and the package before they start.

A fresh Python spends some six seconds of a core on importing torch,
mmselfsup and ahpcl. Here a server (``multiprocessing``'s) imports them once
for all tests of a pytest process, and every program runs in a fork of it: as
``__main__``, with arguments, environment and folder of its own, and without
a GPU. What is about the start itself (imports, launchers, signals) takes
``subprocess``.
"""

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import warnings
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

_CONTEXT = multiprocessing.get_context('forkserver')
_CONTEXT.set_forkserver_preload(
    [
        *('pytest', 'torch.utils.tensorboard', 'sklearn.linear_model'),
        *('mmselfsup.datasets', 'mmselfsup.models', 'mmselfsup.engine'),
        *('ahpcl', 'ahpcl.engine', 'ahpcl.evaluation', 'processes'),
    ]
)


gc.freeze()  # the forks collect less, and share more


def start(program, *arguments, env, cwd=None, stdout, stderr):
    """Starts a Python program in a fork; answers multiprocessing's process.

    Args:
        program: File that runs as ``__main__``.
        arguments: Of its command line.
        env: The whole environment.
        cwd: Its folder; this process's if ``None``.
        stdout: File to which what it prints is appended.
        stderr: The same for errors.
    """
    with mock.patch.dict(os.environ, CUDA_VISIBLE_DEVICES=''):
        forkserver.ensure_running()
    argv = [str(program), *map(str, arguments)]
    cwd = str(cwd or Path.cwd())
    process = _CONTEXT.Process(
        target=_run, args=(argv, dict(env), cwd, str(stdout), str(stderr))
    )
    process.start()
    return process


def run(program, *arguments, folder, env=None, cwd=None, timeout=600):
    """Runs a Python program in a fork, as ``subprocess.run`` does.

    Args:
        program: File that runs as ``__main__``.
        arguments: Of its command line.
        folder: Where its output lies until it is read.
        env: The whole environment; this process's if ``None``.
        cwd: Its folder; this process's if ``None``.
        timeout: Seconds until it is killed.

    Returns:
        A ``subprocess.CompletedProcess`` with text.
    """
    files = [Path(folder) / f'{name}.txt' for name in ('stdout', 'stderr')]
    process = start(
        program,
        *arguments,
        env=os.environ if env is None else env,
        cwd=cwd,
        stdout=files[0],
        stderr=files[1],
    )
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise subprocess.TimeoutExpired(str(program), timeout)
    said = [file.read_text() for file in files]
    for file in files:
        file.unlink()
    return subprocess.CompletedProcess(
        [str(program), *map(str, arguments)], process.exitcode, *said
    )


def _run(argv, env, cwd, stdout, stderr):
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    for number, file in ((1, stdout), (2, stderr)):
        opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    if env.get('PYTHONWARNINGS'):
        warnings.simplefilter(env['PYTHONWARNINGS'])
    sys.argv = list(argv)
    paths = env.get('PYTHONPATH', '').split(os.pathsep)
    sys.path[:0] = [str(Path(argv[0]).parent), *filter(None, paths)]
    runpy.run_path(argv[0], run_name='__main__')
