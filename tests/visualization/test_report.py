"""A run as one page: what is in it, and what it does to odd input."""

import base64
import io
import json
import os
import re
import shlex
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from ahpcl.core.metrics import Candidate, KindCount
from ahpcl.evaluation.run_data import RunData
from ahpcl.utils.text import from_utf8
from ahpcl.visualization.clusters import by_distance
from ahpcl.visualization.log_panels import Stay
from ahpcl.visualization.report import report_page, write_page
from ahpcl.visualization.report_charts import (
    counts_chart,
    ladder_chart,
    line_chart,
    size_chart,
)
from ahpcl.visualization.report_explorer import (
    FARTHEST,
    NEAREST,
    choose_images,
    explorer,
)
from ahpcl.visualization.report_files import find_checkpoint, find_config
from ahpcl.visualization.report_kinds import kinds_part
from ahpcl.visualization.report_markup import escape, script_json, table
from commands import Command

ROOT = Path(__file__).parents[2]
HOSTILE = '</script><script>alert(1)</script>'
VOID = {'meta', 'input', 'br', 'img', 'link', 'hr'}


@pytest.fixture(scope='module')
def tool():
    return Command('report')


@pytest.fixture(scope='module')
def work_dir(toy_run, tmp_path_factory):
    """A copy of the run in a folder whose name is HTML."""
    folder = tmp_path_factory.mktemp('reports') / 'a "<u>run</u'
    folder = Path(str(folder).replace('/u', '\\u'))
    shutil.copytree(toy_run.work_dir, folder)
    return folder


@pytest.fixture(scope='module')
def page(tool, work_dir):
    (work_dir / 'evaluation').mkdir()
    (work_dir / 'evaluation' / 'epoch_6_test.json').write_text(
        json.dumps(
            dict(
                checkpoint='elsewhere/epoch_6.pth',
                images=60,
                metrics={'knn/top1<i>': 12.345, 'knn/top1<i>_ci95': 0.5},
            )
        )
    )
    (work_dir / 'evaluation' / 'broken.json').write_text('{')
    return tool.main([str(work_dir)]).read_text('utf-8')


@pytest.fixture
def run(work_dir, toy_run):
    return RunData(
        Config.fromfile(toy_run.config),
        work_dir / 'epoch_6.pth',
        cache=work_dir / 'features',
    )


class Tags(HTMLParser):
    """Every element, with a check that all are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.found, self.text = [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def data_of(text):
    start = text.index('id="data">') + len('id="data">')
    return json.loads(text[start : text.index('</script>', start)])


def by_name(tags, name):
    return [attrs for tag, attrs in tags.found if tag == name]


# ---- the page -------------------------------------------------------------


def answer(number, reason='halves agree'):
    rows = tuple(
        Candidate(
            count, support, 0.01, 0.9, 0.2, 0.5, 0.1, 0.8, 0.7, views=None
        )
        for count, support in ((2, 0.1), (5, 0.375), (9, 0.2))
    )
    return KindCount(number, (4, 6), reason, ('look <twice>',), 80, rows)


def test_kinds_are_a_number_an_interval_and_evidence():
    text = kinds_part(answer(5), {10: 81.25})
    tags = Tags(text)
    words = ' '.join(tags.text)
    assert 'About 5, between 4 and 6: halves agree.' in words
    assert 'Look <twice>.' in words
    heads = by_name(tags, 'th')
    assert len(heads) == 8 + 2  # without views; and of the levels
    assert '0.375' in words and '81.25' in words
    assert len(by_name(tags, 'polyline')) == 3
    marks = [a for a in by_name(tags, 'path') if a.get('class') == 'mark']
    assert len(marks) == 2  # the ends of the interval
    best = [a for a in by_name(tags, 'tr') if a.get('class') == 'best']
    assert len(best) == 1


def test_kinds_that_are_not_determined_say_why():
    text = kinds_part(answer(None, 'the cloud does as well'))
    assert 'Not determined: the cloud does as well.' in text
    assert 'About' not in text and 'class="warning"' in text
    few = KindCount(None, None, 'too few images', (), 9, ())
    assert kinds_part(few) == (
        '<p class="warning">Not determined: too few images.</p>'
    )


def test_counts_are_in_steps_of_equal_ratio():
    text = counts_chart({'a': [(2, 0.0), (4, 1.0), (8, 0.5)]}, title='A')
    x = [float(attrs['cx']) for attrs in by_name(Tags(text), 'circle')]
    assert x[1] - x[0] == pytest.approx(x[2] - x[1], abs=0.2)
    assert re.findall(r'middle">(\d+)<', text) == ['2', '4', '8']


def test_the_page_is_whole_and_asks_for_nothing(page):
    tags = Tags(page)
    for _, attrs in tags.found:
        assert 'src' not in attrs
        assert not any(name.startswith('on') for name in attrs)
        assert attrs.get('href', '#').startswith('#')
    assert not by_name(tags, 'link')
    assert set(re.findall(r'url\((.{5})', page)) == {'data:'}
    assert '@import' not in page
    ids = [attrs['id'] for _, attrs in tags.found if 'id' in attrs]
    assert len(ids) == len(set(ids))
    links = {a['href'][1:] for a in by_name(tags, 'a')}
    assert links <= set(ids)
    assert links == {
        *('run', 'worth', 'kinds', 'curves', 'decisions', 'evaluation'),
        *('clusters', 'explorer', 'gallery', 'esteps'),
    }
    assert len(page) < 1e6


def test_names_of_folders_and_metrics_are_text(page):
    assert '<u>' not in page
    assert escape('a "<u>run<\\u') in page
    assert '<i>' not in page.replace('<i></i>', '')
    assert 'knn/top1&lt;i&gt;' in page
    assert '± 0.50' in page
    assert 'broken.json: not an evaluation' in page


def test_the_page_tells_the_run(page):
    text = ' '.join(Tags(page).text)
    for wanted in (
        'epoch_6.pth, 240 training images',
        'FixedPolicy',
        '40, 20, 10, 5, 2',  # the rungs of the ladder
        'HPCLHead',
        'K = 10: ',
        'Evidence, from 240 images',
        'Full config',
    ):
        assert wanted in text, wanted
    # Warm-up, then two epochs a rung: five epochs with decisions.
    assert 'All 5 decisions' in text
    assert page.count('<tr class="advance">') == 2
    assert 'All 10 clusterings' in text


def test_a_run_that_was_not_evaluated_says_how(run, tmp_path):
    text = report_page(run, tmp_path, config='the config.py', max_images=5)
    assert (
        'python tools/evaluate.py &#x27;the config.py&#x27; '
        f'{escape(shlex.quote(str(run.checkpoint)))}' in text
    )
    # No log there either: said once for every part that needs it.
    assert text.count('expected logs of a run in') == 3
    assert '5 of 240 images are in this page' in text
    assert 'have no picture at all' in text
    Tags(text)


def test_a_checkpoint_without_prototypes_is_grouped_again(
    work_dir, toy_run, tmp_path
):
    content = torch.load(toy_run.checkpoint, weights_only=True)
    del content['ahpcl']
    torch.save(content, tmp_path / 'bare.pth')
    run = RunData(Config.fromfile(toy_run.config), tmp_path / 'bare.pth')
    text = report_page(run, work_dir, config='c.py')
    assert 'bare.pth holds no prototypes' in text
    assert 'of a fresh k-means' in text


def test_images_without_labels(run, work_dir):
    run.training = replace(
        run.training, labels=torch.full((240,), -1), classes=()
    )
    text = report_page(run, work_dir, config='c.py')
    assert 'agreement with classes is unknown' in text
    assert 'NMI' in text  # of the levels with each other
    data = data_of(text)
    assert data['classes'] == []
    assert all(level['top'] is None for level in data['levels'])


def test_hostile_names_stay_in_the_data(run, work_dir):
    paths = list(run.training.paths)
    paths[:3] = [HOSTILE, 'a"b\'c`<img src=x onerror=alert(2)>', 'x\udcff']
    run.training = replace(
        run.training,
        paths=tuple(paths),
        classes=(HOSTILE, *run.training.classes[1:]),
    )
    text = report_page(run, work_dir, config=HOSTILE, max_images=240)
    tags = Tags(text)
    assert len(by_name(tags, 'script')) == 2
    assert not by_name(tags, 'img')
    data = data_of(text)
    assert data['classes'][0] == HOSTILE
    shown = {row[0] for row in data['images']}
    wanted = [path for path in paths[:3] if path in shown]
    assert wanted
    assert write_page(text, work_dir / 'hostile' / 'r.html') > 1e4


# ---- data of the explorer ---------------------------------------------------


def test_the_explorer_knows_what_the_run_does(run):
    found = explorer(run, 100)
    data = found.data
    assert [level['k'] for level in data['levels']] == [10, 5]
    assert found.shown == len(data['images']) == 100
    labels, paths = run.training.labels, list(run.training.paths)
    indices = [paths.index(row[0]) for row in data['images']]
    for at, level in enumerate(data['levels']):
        own = run.hierarchy.levels[at]
        distances = run.distances(at)
        for index, row in zip(indices, data['images'], strict=True):
            assert row[1] == labels[index]
            assert row[2][at] == own.assignments[index]
            assert row[3][at] == pytest.approx(
                float(distances[index]), rel=1e-3
            )
        for cluster in range(level['k']):
            members = [i for i in range(240) if own.assignments[i] == cluster]
            members.sort(key=lambda i: float(distances[i]))
            assert level['size'][cluster] == len(members)
            near = [indices[place] for place in level['near'][cluster]]
            wanted = [i for i in members[:NEAREST] if i in indices]
            assert near == wanted
            assert near[0] == members[0]
            far = [indices[place] for place in level['far'][cluster]]
            last = members[NEAREST:][-FARTHEST:]
            assert far == [i for i in reversed(last) if i in indices]
            counts = [
                (sum(int(labels[i]) == c for i in members), -c)
                for c in range(10)
            ]
            most = max(counts)
            assert level['top'][cluster][0] == [-most[1], most[0]]
    fine, coarse = data['levels']
    for cluster, parent in enumerate(fine['parent']):
        mine = run.hierarchy.levels[0].assignments == cluster
        inside = run.hierarchy.levels[1].assignments[mine] == parent
        assert fine['share'][cluster] == pytest.approx(
            float(inside.float().mean()), rel=1e-3
        )
    assert coarse['parent'] is None


def test_thumbnails_are_the_images(run):
    found = explorer(run, 150)
    assert found.data['thumbs'] == dict(
        side=16, columns=10, sheet=100, count=150
    )
    assert len(found.sheets) == 2
    paths = list(run.training.paths)
    for place in (0, 9, 10, 99, 100, 149):
        head, text = found.sheets[place // 100].split(',')
        assert head == 'data:image/png;base64'
        sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))
        top, left = divmod(place % 100, 10)
        cut = sheet[16 * top : 16 * top + 16, 16 * left : 16 * left + 16]
        index = paths.index(found.data['images'][place][0])
        assert (cut == run.image(index)).all()


def test_absolute_paths_are_told_from_their_common_folder(run):
    run.training = replace(
        run.training,
        paths=tuple(
            os.path.join(os.sep, 'data', 'set', f'{i % 3}', f'{i}.png')
            for i in range(240)
        ),
    )
    data = explorer(run, 60).data
    assert data['root'] == os.path.join(os.sep, 'data', 'set')
    assert all(
        re.fullmatch(r'[012]./?\d+\.png', row[0].replace(os.sep, './'))
        for row in data['images']
    )


def test_images_are_sorted_within_their_cluster():
    generator = torch.Generator().manual_seed(0)
    distances = torch.randint(0, 5, (200,), generator=generator).float()
    assignments = torch.randint(0, 7, (200,), generator=generator)
    assignments[assignments == 4] = 5  # 4 is empty
    found = by_distance(distances, assignments, 8)
    for cluster, own in enumerate(found):
        slow = [i for i in range(200) if assignments[i] == cluster]
        assert own == sorted(slow, key=lambda i: (float(distances[i]), i))
    assert found[4] == found[7] == []


def test_every_cluster_gets_its_nearest_before_one_gets_a_second():
    fine = [[0, 1], [2, 3], [4, 5]]
    coarse = [[4, 0, 1, 2], [5, 3]]
    # Coarse first: 4 and 5; then the fine ones' 0, 2 (4 is there).
    assert list(choose_images([fine, coarse], 4)) == [4, 5, 0, 2]
    whole = choose_images([fine, coarse], 100)
    assert sorted(whole) == [0, 1, 2, 3, 4, 5]
    assert list(whole.values()) == [0, 1, 2, 3, 4, 5]


def test_the_farthest_are_chosen_with_the_nearest():
    own = list(range(100, 200))
    found = list(choose_images([[own]], 4))
    assert found == [100, 199, 101, 198]
    everything = choose_images([[own]], 1000)
    assert sorted(everything) == (own[:NEAREST] + own[len(own) - FARTHEST :])
    short = own[: NEAREST + 2]  # no image twice
    assert sorted(choose_images([[short]], 1000)) == short


# ---- charts ---------------------------------------------------------------


def test_a_line_goes_through_its_points():
    chart = line_chart(
        {'<a>': [(0, 0.0), (5, float('nan')), (10, 10.0)]},
        title='t',
        unit='%',
        last=10,
        marks=[5],
    )
    Tags(chart)
    points = re.search(r'points="([^"]+)"', chart)[1].split()
    first, second = ([float(v) for v in p.split(',')] for p in points)
    grid = [
        float(v) for v in re.findall(r'class="grid" d="M52 ([\d.]+)', chart)
    ]
    assert first == [52.0, max(grid)]
    assert second == [450.0, min(grid)]
    mark = float(re.search(r'class="mark" d="M([\d.]+)', chart)[1])
    assert mark == (52 + 450) / 2
    assert '&lt;a&gt;' in chart
    assert '<a>' not in chart
    assert (
        line_chart({'a': [(1, float('nan'))]}, title='', unit='', last=1) == ''
    )


def test_a_long_line_is_drawn_by_means():
    points = [(i / 100, float(i % 2)) for i in range(10000)]
    chart = line_chart({'a': points}, title='t', unit='', last=100)
    drawn = re.search(r'points="([^"]+)"', chart)[1].split()
    assert len(drawn) == 300
    # Of 33 or 34 values each, half of them 1.
    names = re.findall(r'text-anchor="end">([^<]+)<', chart)
    assert 0.4 < min(map(float, names)) < 0.5
    assert 0.5 < max(map(float, names)) < 0.6


@pytest.mark.parametrize('value', [0.0, 5.0, -3.0, 1e-12, 1e9])
def test_a_constant_can_be_drawn(value):
    chart = line_chart(
        {'a': [(0, value), (1, value)]}, title='t', unit='', last=1
    )
    Tags(chart)
    assert 'nan' not in chart


def test_the_ladder_shows_every_stay():
    chart = ladder_chart([Stay(1, 3, (40, 20)), Stay(3, 6, (20, 10))], [2], 6)
    Tags(chart)
    assert chart.count('class="newest"') == 2
    assert chart.count('class="rung"') == 2
    assert chart.count('class="mark"') == 1
    assert 'K = 20, epochs 4 to 6' in chart
    assert 'threshold raised after epoch 2' in chart


@pytest.mark.parametrize(
    'sizes', [[3], [0, 0, 5], list(range(100)), [1, 1, 1, 900], [7] * 2000]
)
def test_every_cluster_is_in_a_bar(sizes):
    chart = size_chart(torch.tensor(sizes))
    Tags(chart)
    bars = re.findall(
        r'<title>(\d+) clusters of (\d+)(?: to (\d+))? images', chart
    )
    assert sum(int(bar[0]) for bar in bars) == len(sizes)
    for number, low, high in bars:
        inside = [s for s in sizes if int(low) <= s <= int(high or low)]
        assert len(inside) == int(number)
    assert ('empty' in chart) == (0 in sizes)


# ---- text -------------------------------------------------------------------


def test_json_cannot_end_its_script():
    value = {'a': [HOSTILE, '<!--<script>', '\u2028 & ü'], 'b': 1.5}
    text = script_json(value)
    assert '<' not in text
    assert '>' not in text
    assert json.loads(text) == value
    name = 'x\udcff.png'
    assert from_utf8(json.loads(script_json(name))) == name
    assert escape(name) == 'x\\udcff.png'
    assert script_json([float('nan'), (float('inf'), 1)]) == '[null,[null,1]]'


def test_tables_escape_their_cells():
    text = table(('<h>',), [('<c>',), (0.5,), (None,)], caption='"<x>"')
    Tags(text)
    for bad in ('<h>', '<c>', '<x>'):
        assert bad not in text
    assert '<td class="number">0.5</td>' in text


# ---- files and the tool -----------------------------------------------------


def test_the_last_checkpoint_of_a_moved_folder(tmp_path):
    for name in ('epoch_2.pth', 'epoch_10.pth', 'best_9.pth'):
        torch.save({}, tmp_path / name)
    assert find_checkpoint(tmp_path).name == 'epoch_10.pth'
    pointer = tmp_path / 'last_checkpoint'
    pointer.write_text('/gone/with/it/epoch_2.pth\n')
    assert find_checkpoint(tmp_path) == tmp_path / 'epoch_2.pth'
    pointer.write_text('C:\\runs\\epoch_2.pth')
    assert find_checkpoint(tmp_path) == tmp_path / 'epoch_2.pth'
    pointer.write_text('/gone/epoch_99.pth')
    assert find_checkpoint(tmp_path).name == 'epoch_10.pth'
    pointer.write_text('')
    assert find_checkpoint(tmp_path).name == 'epoch_10.pth'
    (tmp_path / 'epoch_10.pth').write_bytes(b'')
    assert find_checkpoint(tmp_path).name == 'epoch_2.pth'


def test_the_newest_config(tmp_path):
    for age, name in ((1, 'b.py'), (2, 'a.py'), (3, 'c.txt')):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (age, age))
    assert find_config(tmp_path).name == 'a.py'


def refused(tool, *arguments):
    with pytest.raises(SystemExit) as caught:
        tool.main([str(argument) for argument in arguments])
    message = str(caught.value.code)
    assert caught.value.code not in (None, 0)
    assert '\n' not in message
    return message


def test_bad_input_is_a_clear_line(tool, work_dir, toy_run, tmp_path):
    assert 'which is none' in refused(tool, tmp_path / 'no')
    assert 'name it with --config' in refused(tool, tmp_path)
    (tmp_path / 'config.py').write_text('lr = 1')
    assert 'name it with --checkpoint' in refused(tool, tmp_path)
    message = refused(tool, work_dir, '--checkpoint', tmp_path / 'no.pth')
    assert 'no.pth, which does not exist' in message
    message = refused(tool, work_dir, '--config', tmp_path / 'no.py')
    assert 'no.py' in message
    assert '--max-images' in refused(tool, work_dir, '--max-images', '0')
    (tmp_path / 'bad.pth').write_bytes(b'no checkpoint')
    message = refused(tool, work_dir, '--checkpoint', tmp_path / 'bad.pth')
    assert 'bad.pth' in message
    (tmp_path / 'epoch_1.pth').touch()
    assert 'epoch_1.pth is empty; name another' in refused(tool, tmp_path)
    torch.save({}, tmp_path / 'epoch_1.pth')
    assert 'config.py without a model' in refused(tool, tmp_path)
    assert not (tmp_path / 'report.html').exists()


def test_images_that_are_gone_are_counted(tool, work_dir, tmp_path):
    option = 'custom_hooks.0.extract_dataloader.dataset.limit=100'
    out = tmp_path / 'report.html'
    tool.main([str(work_dir), '--out', str(out), '--cfg-options', option])
    assert re.search(r'\d+ gone', out.read_text('utf-8'))


def test_the_file_is_whole_or_not_there(tmp_path):
    (tmp_path / 'r.html').mkdir()
    with pytest.raises(OSError):
        write_page('x', tmp_path / 'r.html')
    assert [p.name for p in tmp_path.iterdir()] == ['r.html']
