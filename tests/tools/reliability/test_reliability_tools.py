"""Short forms of what is done by hand in docs/reliability.md."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tools_modules import tool_modules

RELIABILITY = Path(__file__).parents[3] / 'tools' / 'reliability'


def run(tool, *arguments):
    return subprocess.run(
        [sys.executable, str(RELIABILITY / tool), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=1200,
    )


@pytest.mark.campaign
def test_a_short_campaign_of_kills(tmp_path):
    done = run(
        *('kill_campaign.py', '--kills', 2, '--epochs', 3),
        *('--folder', tmp_path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '2 kills, ' in done.stdout
    assert ' 0 differences' in done.stdout
    assert done.stdout.count('lines: all equal |') == 2


@pytest.mark.campaign
def test_a_short_campaign_on_two_ranks(tmp_path):
    done = run(
        *('kill_campaign.py', '--kills', 1, '--epochs', 3, '--ranks', 2),
        *('--folder', tmp_path),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '1 kills, 1 runs of 2 process(es)' in done.stdout


@pytest.mark.campaign
def test_a_fault_is_borne(tmp_path):
    done = run('faults.py', '--only', 0, '--folder', tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '| loader, rank 0 of 1 | 1 |' in done.stdout


@pytest.mark.campaign
def test_a_little_fuzz():
    done = run('fuzz_files.py', '--cases', 60)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count('| 60 |') == 7


@pytest.mark.campaign
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


def finished_run(folder, loss, weight):
    """What a run leaves that `same_results.py` looks at."""
    import torch

    log = folder / '20260101_000000' / 'vis_data'
    log.mkdir(parents=True)
    line = dict(loss=loss, time=loss * 3, step=1)
    (log / 'scalars.json').write_text(json.dumps(line) + '\n')
    state = dict(state_dict=dict(w=torch.tensor([weight])), optimizer={})
    torch.save(state, folder / 'epoch_2.pth')
    torch.save(dict(state_dict={}), folder / 'epoch_1.pth')


@pytest.mark.parametrize(
    ('loss', 'weight', 'said'),
    [
        (1.0, 2.0, 'ahpcl: the same'),
        (1.5, 2.0, 'ahpcl: step 1: loss is 1.0 and 1.5'),
        (1.0, 2.5, 'ahpcl: state_dict of the last checkpoints are not equal'),
    ],
)
def test_results_are_compared_bit_for_bit(
    tmp_path, capsys, loss, weight, said
):
    finished_run(tmp_path / 'before' / 'ahpcl', 1.0, 2.0)
    finished_run(tmp_path / 'after' / 'ahpcl', loss, weight)
    with tool_modules('reliability', 'same_results') as modules:
        tool = modules['same_results']
        code = tool.main(
            ['compare', str(tmp_path / 'before'), str(tmp_path / 'after')]
        )
        assert said in capsys.readouterr().out
        assert code == int('the same' not in said)
        (tmp_path / 'after' / 'odc').mkdir()
        missing = [
            'compare',
            str(tmp_path / 'before'),
            str(tmp_path / 'after'),
        ]
        assert tool.main(missing) == 1
        assert 'odc: is missing in' in capsys.readouterr().out


def test_every_run_of_the_comparison_has_a_config():
    with tool_modules('reliability', 'same_results') as modules:
        tool = modules['same_results']
        for name in tool.RUNS:
            config = next(
                part
                for part in tool.command(name, Path('out'))
                if 'configs' in part and part.endswith('.py')
            )
            assert Path(config).is_file(), config
