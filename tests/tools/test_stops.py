"""Signals to the commands that users start."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ahpcl.runtime.checkpoint_files import good_checkpoint
from ranks import free_port
from tools_modules import tool_modules

pytestmark = pytest.mark.campaign
ROOT = Path(__file__).parents[2]
TOOLS = ROOT / 'tools'

LISTENS = """
import time
from ahpcl.runtime.stop_request import StopRequest
request = StopRequest()
with request.listening():
    print('ready', flush=True)
    for _ in range({loops}):
        time.sleep(0.05)
        if request.asked():
            print('asked', flush=True)
    raise SystemExit(request.asked())
"""


@pytest.fixture(scope='module')
def small():
    with tool_modules('reliability', '_small_run') as modules:
        yield modules['_small_run']


def wait_for(condition, process, timeout=300):
    """Until it holds; fails if the process ends before."""
    end = time.monotonic() + timeout
    while not condition():
        assert process.poll() is None, 'it ended'
        assert time.monotonic() < end, 'it never came'
        time.sleep(0.02)


def listener(loops):
    process = subprocess.Popen(
        [sys.executable, '-c', LISTENS.format(loops=loops)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == 'ready\n'
    return process


@pytest.mark.parametrize(
    ('number', 'code'),
    [(signal.SIGTERM, 75), (signal.SIGUSR1, 75), (signal.SIGINT, 130)],
)
def test_a_signal_is_remembered(number, code):
    process = listener(40)
    process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    assert 'asked' in said
    assert process.returncode == code


def test_a_second_ctrl_c_ends_at_once():
    process = listener(20 * 3600)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == 'asked\n'
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130


def steps(folder):
    path = folder / 'moments.txt'
    return path.read_bytes().count(b'end step') if path.is_file() else 0


@pytest.fixture
def start(small, tmp_path):
    """Starts a run of so many ranks; kills what is left of it."""
    processes = []

    def start(ranks):
        config = small.write_config(tmp_path, ranks, 2, 'a test')
        work_dir = tmp_path / 'run'
        if ranks == 1:
            processes.append(small.start(config, work_dir, 1))
            return config, work_dir, processes[0]
        environment = {
            **os.environ,
            'PYTHON': sys.executable,
            'PYTHONPATH': str(TOOLS / 'reliability'),
            'PORT': str(free_port()),
        }
        with (tmp_path / 'output.txt').open('ab') as output:
            process = subprocess.Popen(
                [
                    *('bash', str(TOOLS / 'dist_train.sh'), str(config)),
                    *(str(ranks), '--work-dir', str(work_dir)),
                ],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        processes.append(process)
        return config, work_dir, process

    yield start
    for process in processes:
        small.kill_all(process)


@pytest.mark.parametrize(
    ('ranks', 'number', 'code'),
    [
        (1, signal.SIGUSR1, 75),
        (2, signal.SIGUSR1, 75),
        # As a terminal sends it: to all of the group.
        (2, signal.SIGINT, 130),
        # As a terminal that is closed.
        (2, signal.SIGHUP, 75),
    ],
)
def test_training_stops_and_goes_on(
    small, start, tmp_path, ranks, number, code
):
    config, work_dir, process = start(ranks)
    wait_for(lambda: steps(tmp_path) >= 2, process)
    members = small.descendants(process.pid)
    if number == signal.SIGUSR1:
        process.send_signal(number)
    else:
        os.killpg(process.pid, number)
    said = tmp_path / 'output.txt'
    assert process.wait(timeout=300) == code, said.read_text()[-3000:]
    assert 'stopped by a signal' in said.read_text()
    saved = good_checkpoint(work_dir)
    assert '_batch_' in saved.name
    # Nobody is left behind.
    wait_gone(members)
    again = small.start(config, work_dir, ranks)
    assert again.wait(timeout=300) == 0, said.read_text()[-3000:]
    assert f'path: {saved}' in said.read_text()
    assert good_checkpoint(work_dir).name == 'epoch_2.pth'


def test_a_second_ctrl_c_leaves_no_rank(small, start, tmp_path):
    _, _, process = start(2)
    wait_for(lambda: steps(tmp_path) >= 1, process)
    members = small.descendants(process.pid)
    # A rank that does not answer: the first Ctrl-C alone ends nothing.
    rank = next(pid for pid in members if is_rank(pid))
    os.kill(rank, signal.SIGSTOP)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(2)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    wait_gone(members)


def is_rank(pid):
    command = Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')
    return (
        any(word.endswith(b'train.py') for word in command[:3])
        and b'torch.distributed.run' not in command
    )


def wait_gone(members, timeout=60):
    end = time.monotonic() + timeout
    while any(Path(f'/proc/{pid}/exe').exists() for pid in members):
        assert time.monotonic() < end, 'a process is left'
        time.sleep(0.1)


AGENT = """
import subprocess, sys, time
if {ranks}:
    rank = subprocess.Popen(
        [sys.executable, '-c', 'import time; time.sleep(5)'],
        start_new_session=True,
    )
open('ready', 'w').close()
time.sleep(5)
raise SystemExit({ranks} and rank.wait() != 0)
"""


def start_agent(folder, program):
    """dist_train.sh with a program in place of torchrun, once it is ready."""
    write_program(folder / 'agent', sys.executable, program)
    process = subprocess.Popen(
        ['bash', TOOLS / 'dist_train.sh', 'config.py', '1'],
        cwd=folder,
        env={**os.environ, 'PYTHON': str(folder / 'agent')},
        start_new_session=True,
    )
    wait_for((folder / 'ready').exists, process)
    return process


@pytest.mark.parametrize('ranks', [0, 1])
@pytest.mark.parametrize(
    ('number', 'code'),
    [
        (signal.SIGTERM, 75),
        (signal.SIGUSR1, 75),
        (signal.SIGHUP, 75),
        (signal.SIGINT, 130),
    ],
)
def test_a_signal_before_training_ends_it(
    small, tmp_path, number, code, ranks
):
    """A program stands in for torchrun; its rank does not listen yet."""
    process = start_agent(tmp_path, AGENT.format(ranks=ranks))
    members = small.descendants(process.pid)
    assert len(members) == 2 + ranks
    os.killpg(process.pid, number)
    assert process.wait(timeout=60) == code
    wait_gone(members)


RANK_THAT_SAVES = """
import signal, sys, time
def stop(*_):
    time.sleep(2)
    open('saved', 'w').close()
    sys.exit(3)
for name in ('SIGUSR1', 'SIGINT', 'SIGTERM'):
    signal.signal(getattr(signal, name), stop)
open('ready', 'w').close()
time.sleep(20)
"""
AGENT_OF_ONE = """
import subprocess, sys
rank = subprocess.Popen(
    [sys.executable, '-c', RANK], start_new_session=True
)
raise SystemExit(rank.wait())
"""


@pytest.mark.parametrize(
    'numbers',
    [
        # bash's to its jobs, then the kernel's: a terminal that is closed.
        (signal.SIGHUP, signal.SIGHUP),
        (signal.SIGUSR1, signal.SIGTERM),
        (signal.SIGINT, signal.SIGTERM),
    ],
)
def test_a_second_signal_does_not_cut_the_saving_off(small, tmp_path, numbers):
    agent = AGENT_OF_ONE.replace('RANK]', f'{RANK_THAT_SAVES!r}]')
    process = start_agent(tmp_path, agent)
    members = small.descendants(process.pid)
    for number in numbers:
        os.killpg(process.pid, number)
        time.sleep(0.02)
    assert process.wait(timeout=60) == 3  # its own code
    assert (tmp_path / 'saved').exists()
    wait_gone(members)


@pytest.mark.parametrize('ranks', [0, 1])
def test_training_stops_before_its_first_step(small, start, tmp_path, ranks):
    _, work_dir, process = start(2)
    members = []

    def come():
        members[:] = small.descendants(process.pid)
        found = [pid for pid in members[1:] if Path(f'/proc/{pid}').exists()]
        return sum(map(is_rank if ranks else is_agent, found)) > 0

    wait_for(come, process)
    process.send_signal(signal.SIGTERM)
    said = tmp_path / 'output.txt'
    assert process.wait(timeout=60) == 75, said.read_text()[-3000:]
    wait_gone(members)
    assert steps(tmp_path) == 0
    assert not list(work_dir.glob('*.pth'))


def is_agent(pid):
    command = Path(f'/proc/{pid}/cmdline').read_bytes().split(b'\0')
    return b'torch.distributed.run' in command


def write_program(path, interpreter, text):
    path.write_text(f'#!{interpreter}\n{text}\n')
    path.chmod(0o755)


# A task on another machine: a signal to srun or to a terminal's group does
# not reach it.
TASK = """
import os, signal, sys, time

def stop(*_):
    open('told', 'w').close()
    if os.environ.get('HANGS'):
        return
    with open(os.environ['AHPCL_STOP_FILE'], 'w') as file:
        file.write(os.environ['SAID'])
    open('saved', 'w').close()
    sys.exit(int(os.environ['TASK_CODE']))

if not os.environ.get('DEAF'):
    signal.signal(signal.SIGUSR1, stop)
open('ready', 'w').close()
end = time.monotonic() + 20
while time.monotonic() < end:
    time.sleep(0.05)
"""

# As _srun_signal_mgr and _handle_intr of Slurm's src/srun/libsrun/srun_job.c.
SRUN = """
import os, signal, subprocess, sys, time

numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}
signal.pthread_sigmask(signal.SIG_BLOCK, numbers | {signal.SIGCHLD})
with open('srun.txt', 'w') as file:
    print(*sys.argv[1:], file=file)
task = subprocess.Popen(
    [sys.executable, 'task'],
    start_new_session=True,
    preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_SETMASK, ()),
)
last = -10
while task.poll() is None:
    number = signal.sigwait(numbers | {signal.SIGCHLD})
    if number == signal.SIGCHLD:
        continue
    with open('signals.txt', 'a') as file:
        print(signal.Signals(number).name, file=file)
    if number == signal.SIGINT:
        now = time.monotonic()
        if now - last < 1:
            task.send_signal(signal.SIGINT)
            task.kill()
        last = now
    elif number in (signal.SIGTERM, signal.SIGHUP):
        task.kill()
    else:
        task.send_signal(number)
code = task.wait()
sys.exit(code if code >= 0 else 128 - code)
"""

SCONTROL = """
echo "$@" >>scontrol.txt
if [ "$1" = show ]; then
    echo "   JobState=${JOB_STATE:-RUNNING} Reason=None Dependency=(null)"
else
    exit "${REFUSES:-0}"
fi
"""


@pytest.fixture
def slurm(small, tmp_path):
    """Starts slurm_train.sh with programs that stand in for Slurm's."""
    write_program(tmp_path / 'task', sys.executable, TASK)
    write_program(tmp_path / 'srun', sys.executable, SRUN)
    write_program(tmp_path / 'scontrol', '/usr/bin/env bash', SCONTROL)
    processes = []

    def start(*arguments, **environment):
        processes.append(
            subprocess.Popen(
                [
                    *('bash', TOOLS / 'slurm_train.sh', 'gpu', 'job'),
                    *('config.py', *arguments),
                ],
                cwd=tmp_path,
                env={
                    **os.environ,
                    'PATH': f'{tmp_path}:{os.environ["PATH"]}',
                    **dict(TASK_CODE='75', SAID=''),
                    **environment,
                },
                start_new_session=True,
            )
        )
        wait_for((tmp_path / 'ready').exists, processes[0])
        return processes[0]

    yield start
    for process in processes:
        small.kill_all(process)


def requeued(folder):
    path = folder / 'scontrol.txt'
    return path.is_file() and 'requeue 17\n' in path.read_text()


@pytest.mark.parametrize(
    'number', [signal.SIGUSR1, signal.SIGTERM, signal.SIGHUP]
)
def test_a_slurm_job_is_queued_again(slurm, tmp_path, number):
    process = slurm(SLURM_JOB_ID='17')
    os.killpg(process.pid, number)
    assert process.wait(timeout=60) == 0
    assert (tmp_path / 'saved').exists()
    assert requeued(tmp_path)


@pytest.mark.parametrize('number', [signal.SIGUSR1, signal.SIGTERM])
def test_a_stopped_slurm_step_gives_its_code(slurm, tmp_path, number):
    process = slurm()
    process.send_signal(number)
    assert process.wait(timeout=60) == 75
    assert (tmp_path / 'saved').exists()
    assert not (tmp_path / 'scontrol.txt').exists()


@pytest.mark.parametrize('terminal', [False, True])
def test_ctrl_c_saves_a_slurm_step(slurm, tmp_path, terminal):
    process = slurm(SLURM_JOB_ID='17', SAID='75')
    if terminal:
        os.killpg(process.pid, signal.SIGINT)
    else:
        process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert (tmp_path / 'saved').exists()
    assert not requeued(tmp_path)


def test_a_second_ctrl_c_ends_a_slurm_step(slurm, small, tmp_path):
    process = slurm(SLURM_JOB_ID='17', HANGS='1')
    members = small.descendants(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    wait_for((tmp_path / 'told').exists, process)
    time.sleep(1.5)
    assert process.poll() is None
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    wait_gone(members)
    said = (tmp_path / 'signals.txt').read_text().split()
    assert said == ['SIGUSR1', 'SIGTERM']
    assert not requeued(tmp_path)


def test_a_slurm_job_stopped_before_it_trains_is_queued_again(slurm, tmp_path):
    process = slurm(SLURM_JOB_ID='17', DEAF='1')
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    assert requeued(tmp_path)


def test_a_slurm_job_whose_tasks_were_ended_is_queued_again(slurm, tmp_path):
    process = slurm(SLURM_JOB_ID='17', TASK_CODE='143', SAID='75')
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 0
    assert requeued(tmp_path)


@pytest.mark.parametrize('state', ['CANCELLED', 'COMPLETING', 'TIMEOUT'])
def test_a_cancelled_slurm_job_does_not_come_back(slurm, tmp_path, state):
    process = slurm(SLURM_JOB_ID='17', JOB_STATE=state)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 75
    assert (tmp_path / 'saved').exists()
    assert not requeued(tmp_path)


def test_a_slurm_job_that_is_not_queued_again_says_75(slurm, tmp_path):
    process = slurm(SLURM_JOB_ID='17', REFUSES='1')
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 75


@pytest.mark.parametrize(
    ('code', 'environment'),
    [(3, dict(SLURM_JOB_ID='17')), (75, {})],
)
def test_a_slurm_job_ends_with_its_code(slurm, tmp_path, code, environment):
    process = slurm(TASK_CODE=str(code), **environment)
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == code
    assert not (tmp_path / 'scontrol.txt').exists()
    # train.py knows what is its own.
    assert '--resume' not in (tmp_path / 'srun.txt').read_text()
