"""The page of the benchmarks, and the goals on it."""

import json

import pytest

from tools_modules import tool_modules

NAMES = (
    *(
        '_provenance',
        '_tables',
        '_floor',
        '_clustering',
        'estep',
        'scaling',
        'scale',
    ),
    *('throughput', '_goals', 'tables'),
)


@pytest.fixture(scope='module')
def tools():
    with tool_modules('benchmarks', *NAMES) as loaded:
        yield loaded


def test_the_page_is_what_the_jsons_say(tools):
    assert tools['tables'].main(['--check']) == 0


def test_a_page_of_nothing_says_so_and_keeps_its_text(tools, tmp_path):
    page = tmp_path / 'README.md'
    page.write_text(
        'Before.\n<!-- begin scaling -->\nold\n<!-- end scaling -->\n'
        '<!-- begin gpu_check/step -->\n<!-- end gpu_check/step -->\nAfter.\n'
    )
    main = tools['tables'].main
    assert main(['--check', '--page', str(page)]) == 1
    assert main(['--page', str(page)]) == 0
    assert main(['--check', '--page', str(page)]) == 0
    text = page.read_text()
    assert text.startswith('Before.\n')
    assert text.endswith('After.\n')
    assert 'old' not in text
    assert text.count('**Not measured') == 2
    assert 'not run on a GPU' in text
    assert tools['tables'].block(tmp_path, 'goals').count('not measured') > 9


def test_other_blocks_are_refused(tools, tmp_path):
    with pytest.raises(ValueError, match="'speed'"):
        tools['tables'].block(tmp_path, 'speed')


def test_a_part_that_failed_says_so(tools, tmp_path):
    (tmp_path / 'gpu_check').mkdir()
    (tmp_path / 'gpu_check' / 'methods.json').write_text(
        json.dumps(
            dict(
                status='overrun',
                seconds=91.2,
                budget=91.0,
                machine=dict(cpu='A', cpu_cores=16, device='H'),
                source=dict(commit='0123456789'),
                settings=dict(epochs=5, images=10, side=64, batch=2),
                rows=[dict(name='ahpcl', loss='loss_inst', error='no')],
            )
        )
    )
    text = tools['tables'].block(tmp_path, 'gpu_check/methods')
    assert 'H, A, 16 cores' in text
    assert 'commit 0123456.' in text
    assert '**overrun** after 91 of 91 s.' in text
    assert '| ahpcl | loss_inst | - | - | - | - | no |' in text


def test_goals_by_hand(tools):
    share = dict(share=20.0, clustering=2.5)
    throughput = dict(
        features='bank',
        norm_share=7.5,
        estep_share={
            'as configured, extract': dict(share=50.0, clustering=40.0),
            'as configured, bank': share,
        },
        rows=[
            dict(name='as configured', ratio=1.75),
            dict(name='DeviceViews', ratio=9.0),
        ],
    )
    clustering = dict(
        rows=[
            dict(name='recipe', clusters=25, ratio=1.0),
            dict(name='torch', clusters=25, ratio=50.0, rate_share=0.4),
            dict(name='flash', clusters=25, ratio=60.0, rate_share=0.7),
            dict(name='torch', clusters=50, ratio=20.0, rate_share=0.6),
            dict(name='flash', clusters=50, error='no'),
        ]
    )
    reports = {
        'throughput_digits': throughput,
        'gpu_check/clustering': clustering,
        'estep': dict(
            settings=dict(epochs=2),
            rows=[dict(name='as configured', ratio=66.2, worst=0.1)],
        ),
    }
    lines = tools['_goals'].goals(reports.get).splitlines()

    def measured(what):
        (line,) = (line for line in lines if line.startswith(f'| {what}'))
        return line.split('|')[-2].strip()

    digits = '`ahpcl_digits.py`'
    # 1.75 times the steps in the 80 % of the time that is left for them.
    assert measured(f'epoch (step and E-step), {digits}') == '1.40 x: reached'
    assert measured(f'training step, {digits}') == '1.75 x: reached'
    assert 'not reached' in measured(f'E-step, share of the epoch, {digits}')
    assert measured(f'clustering, share of the epoch, {digits}') == (
        '2.50 %: reached'
    )
    assert measured(f'split batch norm, share of the step, {digits}') == (
        '7.50 %: reached'
    )
    # The best engine at every K, and then the worst K.
    assert measured('clustering, GPU') == '20.00 x: **not reached**'
    assert measured('assignment, GPU') == '0.60 of it: reached'
    assert measured('clustering, CPU, as configured') == '66.20 x: reached'
    assert measured('objective') == '**not measured**'  # of two epochs
    assert measured('training step, GPU') == '**not measured**'


def test_the_batch_norm_in_whose_place_the_split_one_stands(tools):
    report = dict(estep_share={}, rows=[], norm_share=17.7)
    table = tools['tables'].throughput_table
    assert 'batch norm' not in table(report)  # of an older report
    text = table(dict(report, whole_norm_share=18.6))
    assert 'batch norm, share of the step: 17.7 %' in text
    assert 'in its place: 18.6 %' in text
