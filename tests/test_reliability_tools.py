"""Short forms of what is done by hand in docs/reliability.md."""

import subprocess
import sys
from pathlib import Path

import pytest

from tools_modules import tool_modules

RELIABILITY = Path(__file__).parents[1] / 'tools' / 'reliability'


def run(tool, *arguments):
    return subprocess.run(
        [sys.executable, str(RELIABILITY / tool), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=1200,
    )


@pytest.mark.slow
def test_a_short_campaign_of_kills(tmp_path):
    done = run(
        *('kill_campaign.py', '--kills', 2, '--epochs', 3),
        *('--folder', tmp_path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '2 kills, ' in done.stdout
    assert ' 0 differences' in done.stdout
    assert done.stdout.count('lines: all equal |') == 2


@pytest.mark.slow
def test_a_short_campaign_on_two_ranks(tmp_path):
    done = run(
        *('kill_campaign.py', '--kills', 1, '--epochs', 3, '--ranks', 2),
        *('--folder', tmp_path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '1 kills, 1 runs of 2 process(es)' in done.stdout


@pytest.mark.slow
def test_a_fault_is_borne(tmp_path):
    done = run('faults.py', '--only', 0, '--folder', tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '| loader, rank 0 of 1 | 1 |' in done.stdout


@pytest.mark.slow
def test_a_little_fuzz():
    done = run('fuzz_files.py', '--cases', 60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('| 60 |') == 7


def test_an_estep_in_little_memory():
    size = ('--images', 100_000, '--clusters', 20)  # 51 MB of features
    done = run('limited_estep.py', '--limit', 0.5, *size)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'K = 20: 20 in use' in done.stdout
    done = run('limited_estep.py', '--limit', 0.02, *size)
    assert done.returncode == 1, done.stdout + done.stderr
    assert '0.02 GiB did not do: ' in done.stdout


def test_a_difference_of_records_is_seen():
    with tool_modules('reliability', '_record') as modules:
        record = modules['_record']
    first = {('step', 1): dict(loss=1.0, acc=2.0), ('val', 3): dict(knn=4)}
    assert not record.differences(first, first)
    other = {('step', 1): dict(loss=1.0, acc=2.5)}
    assert record.differences(first, other) == [
        'step 1: acc is 2.0 and 2.5',
        'val 3: knn is 4 and None',
    ]


def test_growth_is_told_from_noise():
    with tool_modules('reliability', 'soak') as modules:
        slope = modules['soak'].slope
    noise = [(7 * n * n) % 11 for n in range(200)]
    change, half = slope(noise)
    assert abs(change) < half
    change, half = slope([0.02 * n + x for n, x in enumerate(noise)])
    assert change - half > 1
    assert change == pytest.approx(2, abs=half)
