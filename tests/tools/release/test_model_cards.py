"""The cards say what the ledger says, and a rebuild is compared with it."""

import json
import re
import subprocess
from types import SimpleNamespace

import pytest
import torch
import yaml

from tools_modules import tool_modules

HERE = dict(device='cpu', cpu='A', torch='2', threads=1, rounding='aa')


@pytest.fixture(scope='module')
def tools():
    names = (
        *('_experiments', '_plan', '_ledger', '_leaders', '_card_sets'),
        *('_lead_text', '_card_text', '_rebuild', 'model_cards'),
    )
    with tool_modules('release', *names) as modules:
        yield SimpleNamespace(
            **{name.strip('_'): module for name, module in modules.items()}
        )


def entry(config, seed, value, **more):
    return dict(
        dict(
            row=f'digits_full/{config}/{seed}',
            scale='digits_full',
            variant=config,
            config=config,
            digest=f'of {config}',
            seed=seed,
            part='val',
            options={},
            hardware=HERE,
            metrics={'knn/top1': value},
            budget=dict(epochs=3, images=10, forward=80, backward=40),
        ),
        **more,
    )


def found_in(tools, folder, values):
    """Who leads, where the configs have these values by seed."""
    path = folder / 'plan.yml'
    rows = [
        dict(
            question='a',
            scale='digits_full',
            config=config,
            seeds=list(range(len(seen))),
        )
        for config, seen in values.items()
    ]
    content = dict(primary='knn/top1', questions={'a': 'first'}, rows=rows)
    path.write_text(json.dumps(content))
    entries = [
        entry(config, seed, value)
        for config, seen in values.items()
        for seed, value in enumerate(seen)
    ]
    planned = {each['row']: each['digest'] for each in entries}
    path.with_suffix('.planned.json').write_text(json.dumps(planned))
    plan = tools.plan.read_plan(path)
    return tools.leaders.standing(entries, plan, 'digits_full')


def test_what_needs_labels_or_has_one_seed_does_not_lead(tools, tmp_path):
    values = dict(
        oracle=[99, 99],
        no_own=[98, 98],
        true_purity_images=[98, 98],
        fixed_classes=[97, 97],
        ladder_with_classes=[97, 97],
        pixels=[96],
        untrained=[95, 95],
        mocov2=[94],
        pcl=[90, 92],
        ahpcl=[92, 91],
        simclr=[70, 70.1],
    )
    found = found_in(tools, tmp_path, values)
    assert found.leader.variant == 'ahpcl' and found.seed == 0
    assert [r.method.variant for r in found.rivals] == ['pcl', 'simclr']
    assert [m.variant for m in found.single] == ['mocov2']
    assert set(found.references) == {
        *('oracle', 'no_own', 'true_purity_images', 'fixed_classes'),
        *('ladder_with_classes', 'pixels', 'untrained'),
    }
    near, far = found.rivals
    assert near.overlaps and not near.told_apart
    assert near.lead.mean == pytest.approx(0.5)
    assert not far.overlaps


def test_who_leads_is_not_said_to_be_told_apart(tools, tmp_path):
    values = dict(ahpcl=[92, 91, 93], pcl=[90, 92, 92], odc=[20, 19.1, 21.2])
    found = found_in(tools, tmp_path, values)
    text = '\n'.join(tools.lead_text.lead_lines(found))
    assert '**The intervals of 1 of the other 2 overlap its own**' in text
    assert 'told apart from it is 1.' in text
    pcl, odc = (
        next(x for x in text.split('\n') if x.startswith(f'| *{name}*'))
        for name in ('pcl', 'odc')
    )
    assert '| yes | no |' in pcl and '| no | yes |' in odc
    alone = found_in(tools, tmp_path, dict(mocov2=[50, 51], ahpcl=[60]))
    text = '\n'.join(tools.lead_text.lead_lines(alone))
    assert text.startswith('Not known: *mocov2*') and '*ahpcl* 60.00' in text
    with pytest.raises(ValueError, match='2 seeds or more'):
        found_in(tools, tmp_path, dict(mocov2=[50], oracle=[60, 61]))


def source_of(name, variants, folder):
    """The text that a config of the experiments is made of."""
    text = ''
    while name in variants:
        text += str(variants[name])
        name = variants[name]['config']
    path = folder / f'{name}.py'
    while path.is_file():
        own = path.read_text()
        text += own
        base = re.search(r"^_base_ = '([\w./]+)'", own, re.MULTILINE)
        if base is None:
            break
        path = path.parent / base[1]
    return text


def test_configs_that_look_at_labels_are_known_by_name(tools):
    looking = ('OracleClustering', 'OtherClassNegatives', 'TruePurity')
    counting = ".pop('data').classes"
    plan = tools.plan.read_plan(tools.plan.PLAN)
    variants = yaml.safe_load(tools.plan.PLAN.read_text())['variants']
    names = {
        row.config for row in plan.rows if row.scale in tools.card_sets.SETS
    }
    found = {
        name
        for name in names
        if any(
            word in source_of(name, variants, tools.plan.CONFIGS)
            for word in (*looking, counting)
        )
    }
    assert {'oracle_fine', 'true_purity_images', 'fixed_classes'} <= found
    assert found == {
        name
        for name in names
        if tools.leaders.Method(name, {0: dict(config=name)}).needs_labels
    }


def test_the_cards_are_what_the_ledger_says(tools, tmp_path, capsys):
    assert tools.model_cards.main(['--check']) == 0, capsys.readouterr().out
    for images in tools.card_sets.SETS.values():
        text = (tools.model_cards.CARDS / f'{images.name}.md').read_text()
        _, front, body = text.split('---\n', 2)
        told = yaml.safe_load(front)
        assert told['library_name'] == 'ahpcl' and told['license']
        (result,) = told['model-index'][0]['results']
        knn = result['metrics'][0]
        assert knn['type'] == 'knn/top1'
        assert f'| kNN (k = 20) | {knn["value"]:.2f} | ' in body
        (tmp_path / f'{images.name}.md').write_text(text)
    known = tools.model_cards.CARDS / tools.model_cards.REBUILT
    if known.is_file():
        (tmp_path / known.name).write_text(known.read_text())
    options = ['--cards', str(tmp_path), '--check']
    assert tools.model_cards.main(options) == 0
    card = tmp_path / 'digits.md'
    card.write_text(card.read_text().replace('kNN', 'knn'))
    assert tools.model_cards.main(options) == 1
    assert 'digits.md is not what the ledger' in capsys.readouterr().out


def test_figures_are_equal_or_where_a_further_seed_would_be(tools, tmp_path):
    found = found_in(tools, tmp_path, dict(ahpcl=[1, 2, 3, 4, 5]))
    more = dict(commit='c', finished='2026-01-02T03:04:05')
    metric = ['knn/top1']

    def fits(value, **machine):
        now = entry('ahpcl', 0, value, hardware=HERE | machine, **more)
        came = tools.rebuild.compare(found, now, metric)
        return came['exact'], came['figures']['knn/top1']['fits']

    assert fits(1) == (True, True)
    assert fits(1 + 1e-9) == (True, False)
    # t(0.975; 4) = 2.776, s = 1.5811: 3 ± 2.776 * 1.5811 * sqrt(1.2).
    assert fits(7.80, rounding='bb') == (False, True)
    assert fits(7.82, rounding='bb') == (False, False)
    assert fits(-1.80, cpu='B') == (False, True)
    assert fits(-1.82, cpu='B') == (False, False)


ROW = """
import argparse, json, os, pathlib, shutil
parser = argparse.ArgumentParser()
parser.add_argument('row')
for name in ('out', 'work-dir', 'ledger', 'threads'):
    parser.add_argument('--' + name)
args = parser.parse_args()
tree = pathlib.Path.cwd()
assert os.environ['PYTHONPATH'] == str(tree / 'projects')
assert (tree / 'data' / 'image').read_text() == 'pixels'
folder = pathlib.Path(args.work_dir, args.row, 'd')
folder.mkdir(parents=True)
shutil.copy(tree / 'data' / 'weights', folder / 'epoch_1.pth')
commit = os.popen('git rev-parse HEAD').read().strip()
told = dict(digest='d', commit=commit, version=VERSION, threads=args.threads)
pathlib.Path(args.out).write_text(json.dumps(told))
"""


@pytest.fixture
def repository(tmp_path):
    """A repository of two commits; answers it and its first commit."""
    root = tmp_path / 'repository'
    path = root / 'tools' / 'experiments' / 'row.py'
    path.parent.mkdir(parents=True)
    (root / 'data').mkdir()
    (root / 'data' / 'image').write_text('pixels')
    weights = dict(state_dict=dict(of=torch.ones(1)))
    torch.save(weights, root / 'data' / 'weights')
    (root / '.gitignore').write_text('data\n')

    def git(*arguments):
        name = ('-c', 'user.name=a', '-c', 'user.email=a@b.c')
        return subprocess.run(
            ['git', '-C', root, *name, *arguments],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    git('init', '--quiet')
    for version in (1, 2):
        path.write_text(ROW.replace('VERSION', str(version)))
        git('add', '.')
        git('commit', '--quiet', '-m', f'version {version}')
    return SimpleNamespace(root=root, git=git, first=git('rev-parse', 'HEAD^'))


def test_a_row_is_trained_by_the_code_of_its_commit(
    tools, tmp_path, repository
):
    given = dict(row='digits_full/a b/0', digest='d', commit=repository.first)
    again = tools.rebuild.train_again
    where = (tmp_path / 'ledger.jsonl', repository.root)
    (tmp_path / 'out').mkdir()
    told, checkpoint = again(given, tmp_path / 'out', *where)
    assert told['version'] == 1 and told['threads'] == '1'
    assert torch.load(checkpoint)['state_dict']['of'] == 1
    assert len(repository.git('worktree', 'list').split('\n')) == 1
    assert (repository.root / 'data' / 'image').is_file()
    with pytest.raises(ValueError, match=r'the commit 0123 .*unshallow'):
        again(dict(given, commit='0123'), tmp_path / 'out', *where)
    (tmp_path / 'other').mkdir()
    with pytest.raises(RuntimeError, match='the digest e of the ledger'):
        again(dict(given, digest='e'), tmp_path / 'other', *where)
    with pytest.raises(RuntimeError, match='ended with 1'):
        again(given, tmp_path / 'out', *where)  # its folder is there
