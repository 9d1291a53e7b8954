"""The experiments: plan, ledger, queue, tables, and rows that really run."""

import json
import math
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import processes
from tools_modules import tool_modules

ROOT = Path(__file__).parents[3]
TOOLS = ROOT / 'tools' / 'experiments'

# Stands in for a row: the queue is tested without training. It knows the
# digest from what was planned, as importing what computes it takes seconds.
SHORT_ROW = """
import json, sys, time
name, out = sys.argv[1], sys.argv[sys.argv.index('--out') + 1]
scale, variant, seed = name.split('/')
plan = sys.argv[sys.argv.index('--plan') + 1]
if seed == '7':
    sys.exit('seed 7 fails')
time.sleep({seconds})
digest = json.load(open(plan.replace('.yml', '.planned.json')))[name]
entry = dict(row=name, scale=scale, variant=variant, part='val',
             seed=int(seed), digest=digest,
             metrics={{'knn/top1': 50.0 + int(seed)}},
             budget=dict(train_seconds={seconds}), curves={{}})
open(out, 'w').write(json.dumps(entry))
"""


@pytest.fixture(scope='module')
def tools():
    names = (
        *('_paths', '_plan', '_ledger', '_intervals', '_replay'),
        *('_row_queue', '_oracle', '_provenance'),
        *('row', 'run', 'table'),
    )
    with tool_modules('experiments', *names) as modules:
        yield SimpleNamespace(
            **{name.strip('_'): module for name, module in modules.items()}
        )


def write_plan(folder, rows, **more):
    path = folder / 'plan.yml'
    content = dict(
        primary='knn/top1',
        questions={'a': 'first', 'b': 'second'},
        comparisons={'a': 'ahpcl', 'b': 'ahpcl'},
        rows=rows,
        **more,
    )
    path.write_text(json.dumps(content))  # JSON is YAML
    return path


def row(config='ahpcl', seeds=(0,), question='a', scale='digits', **more):
    return dict(
        question=question,
        scale=scale,
        config=config,
        seeds=list(seeds),
        **more,
    )


# ---- the plan ------------------------------------------------------------


def test_every_planned_row_has_a_config_that_builds(tools):
    from mmengine.registry import HOOKS, MODELS, init_default_scope

    plan = tools.plan.read_plan()
    seen = {}
    for planned in plan.rows:
        if planned.config not in plan.ended:
            seen.setdefault((planned.scale, planned.variant), planned)
    init_default_scope('mmselfsup')
    for planned in seen.values():
        config = planned.read()
        assert MODELS.get(config.model.type), planned.name
        for hook in config.custom_hooks:
            HOOKS.build(hook)
        assert planned.planned, f'{planned.name}: run.py --plan-rows'
    scales = {'cpu', 'cifar10', 'cifar10_small', 'digits', 'digits_full'}
    scales |= {'folder', 'gpu', 'gpu_short', 'gpu_classes', 'shapes'}
    assert scales == {scale for scale, _ in seen}


def test_choices_and_the_final_table_share_no_seed(tools):
    seeds = {'val': set(), 'test': set()}
    for planned in tools.plan.read_plan().rows:
        if planned.scale != 'digits':
            seeds[planned.part].add(planned.seed)
    assert not seeds['val'] & seeds['test']


def test_a_row_of_two_questions_runs_once(tools, tmp_path):
    rows = [row(seeds=[0, 1]), row(question='b', config=['ahpcl', 'mocov2'])]
    plan = tools.plan.read_plan(write_plan(tmp_path, rows))
    assert [r.name for r in plan.rows] == [
        'digits/ahpcl/0',
        'digits/ahpcl/1',
        'digits/mocov2/0',
    ]
    assert plan.tables == {'a': ['ahpcl'], 'b': ['ahpcl', 'mocov2']}


def test_options_make_a_variant_of_their_own(tools, tmp_path):
    rates = [{'optim_wrapper.optimizer.lr': rate} for rate in (0.1, 0.2)]
    rows = [row(), row(options=rates)]
    plan = tools.plan.read_plan(write_plan(tmp_path, rows))
    names = [r.variant for r in plan.rows]
    assert names == ['ahpcl', 'ahpcl lr=0.1', 'ahpcl lr=0.2']
    rates = [r.read().optim_wrapper.optimizer.lr for r in plan.rows]
    assert rates == [0.1, 0.1, 0.2]
    digests = [r.digest() for r in plan.rows]
    assert digests[0] == digests[1] != digests[2]


def test_views_have_one_digest_wherever_they_are_configured(tools):
    """Rows of version 0.1, whose DeviceViews read the pipeline, count."""
    views = dict(views=[[dict(type='RandomFlip', prob=0.5)]], num_views=[2])
    load, pack = dict(type='LoadImageBGR'), dict(type='PackSelfSupInputs')

    def content(pipeline, **preprocessor):
        return dict(
            model=dict(
                data_preprocessor=dict(type='DeviceViews', **preprocessor)
            ),
            train_dataloader=dict(dataset=dict(pipeline=pipeline)),
        )

    old = content([load, dict(type='SeededMultiView', **views), pack])
    new = content([load, pack], **views)
    tools.plan._put_views_into_pipeline(new)
    assert new == old
    tools.plan._put_views_into_pipeline(new)
    assert new == old


def test_the_digest_is_of_what_decides(tools, tmp_path):
    rows = [
        row(seeds=[0, 1]),
        row(options={'train_dataloader.num_workers': 2}),
        row(options={'default_hooks.logger.interval': 5}),
        row(options={'custom_hooks.0.warmup_epochs': 0}),
        row(options={'model.queue_len': 64}),
    ]
    plan = tools.plan.read_plan(write_plan(tmp_path, rows))
    digests = [r.digest() for r in plan.rows]
    assert len(set(digests[:4])) == 1
    assert len({digests[0], *digests[4:]}) == 3


@pytest.mark.parametrize(
    ('entry', 'message'),
    [
        (dict(row(), epochs=3), 'expected question, scale'),
        (row(question='z'), 'expected a question of a, b'),
        (row(part='train'), "expected part 'val' or 'test'"),
        (row(start_from='mocov2@1'), "planned row .* got 'mocov2@1'"),
        (row(equal_time_with='nobody'), 'measured cost of .nobody.'),
    ],
)
def test_a_bad_plan_is_refused(tools, tmp_path, entry, message):
    with pytest.raises(ValueError, match=message):
        [planned] = tools.plan.read_plan(write_plan(tmp_path, [entry])).rows
        planned.digest()


@pytest.mark.parametrize('epoch', ['0', '2', 'last'])
def test_a_fork_needs_an_epoch_of_its_parent(tools, tmp_path, epoch):
    rows = [row('mocov2'), row(start_from=f'mocov2@{epoch}')]
    with pytest.raises(ValueError, match='1 to 1 of digits/mocov2'):
        tools.plan.read_plan(write_plan(tmp_path, rows))


def test_epochs_are_bought_with_what_the_estep_costs(
    tools, tmp_path, monkeypatch
):
    costs = tmp_path / 'costs.json'
    costs.write_text('{"digits": {"ahpcl": {"estep_over_steps": 0.6}}}')
    monkeypatch.setattr(tools.plan, 'COSTS', costs)
    rows = [row('mocov2'), row('mocov2', equal_time_with='ahpcl')]
    plain, bought = tools.plan.read_plan(write_plan(tmp_path, rows)).rows
    assert bought.variant == 'mocov2 in the time of ahpcl'
    assert plain.read().train_cfg.max_epochs == 2
    assert bought.read().train_cfg.max_epochs == 3
    assert plain.digest() != bought.digest()


def test_a_variant_changes_what_it_says(tools):
    for _ in range(2):  # also the second time that it is read
        found = tools.plan.read_config('bn_whole', 'cpu').model
        assert found.backbone.norm_cfg == dict(type='BN')
        assert found.neck.norm_cfg == dict(type='BN1d')
    (hook,) = tools.plan.read_config('fixed_800', 'digits').custom_hooks
    assert hook.policy is None  # of the variant that it changes
    assert hook.ladder == dict(
        type='ClusterLadder',
        rungs=[800],
        window=1,
        min_images_per_cluster=1,
    )
    published, ours = (
        tools.plan.read_config(name, 'gpu').custom_hooks[0].ladder.rungs
        for name in ('baselines/hcsc', 'hcsc')
    )
    assert published == [41, 27, 14] and ours == [60, 40, 20]


def test_an_unknown_config_or_scale_is_named(tools):
    with pytest.raises(ValueError, match=r'/nothing\.py'):
        tools.plan.read_config('nothing', 'cpu')
    with pytest.raises(
        ValueError, match='cifar10, cifar10_small, cpu, digits'
    ):
        tools.plan.read_config('ahpcl', 'tpu')


# ---- the ledger ----------------------------------------------------------


def test_a_line_that_was_cut_off_is_left_out_and_stays_alone(tools, tmp_path):
    path = tmp_path / 'ledger.jsonl'
    assert tools.ledger.read_ledger(path) == []
    tools.ledger.append({'row': 'x', 'digest': '1'}, path)
    with path.open('a') as file:
        file.write('{"row": "y", "dig')
    assert [e['row'] for e in tools.ledger.read_ledger(path)] == ['x']
    tools.ledger.append({'row': 'z', 'digest': '1'}, path)
    with pytest.raises(ValueError, match='in line 2'):
        tools.ledger.read_ledger(path)


def test_older_lines_come_first_in_the_order_of_their_files(tools, tmp_path):
    path = tmp_path / 'ledger.jsonl'
    for name in ('ledger.10', 'ledger', 'ledger.2'):
        tools.ledger.append({'row': name}, tmp_path / f'{name}.jsonl')
    assert [entry['row'] for entry in tools.ledger.read_ledger(path)] == [
        'ledger.2',
        'ledger.10',
        'ledger',
    ]


# ---- statistics ----------------------------------------------------------


def test_intervals_are_students(tools):
    # Deviation 0.85049; 0.975 quantile of t with 2 degrees 4.30265.
    found = tools.intervals.interval([28.4, 30.1, 29.3])
    assert found.mean == pytest.approx(29.266667, abs=1e-6)
    assert found.half == pytest.approx(4.30265 * 0.85049 / 3**0.5, abs=1e-4)
    one = tools.intervals.interval([3.0])
    assert math.isnan(one.half) and not one.excludes_zero
    with pytest.raises(ValueError, match='at least one'):
        tools.intervals.interval([])


def test_differences_are_paired_by_seed(tools):
    # Seeds differ by much, methods by exactly 1.
    found = tools.intervals.paired(
        {0: 11.0, 1: 21.0, 2: 31.0, 5: 0.0}, {2: 30.0, 1: 20.0, 0: 10.0}
    )
    assert (found.mean, found.half, found.count) == (1.0, 0.0, 3)
    assert found.excludes_zero
    assert tools.intervals.paired({0: 1.0}, {1: 1.0}) is None


# ---- the queue -----------------------------------------------------------


@pytest.fixture
def queue(tools, tmp_path, monkeypatch):
    def run(rows, *options, seconds=0.0, planned=True):
        script = tmp_path / 'short.py'
        script.write_text(SHORT_ROW.format(seconds=seconds))
        monkeypatch.setattr(tools.row_queue, 'ROW_TOOL', script)
        plan = write_plan(tmp_path, rows)
        ledger = tmp_path / 'ledger.jsonl'
        files = ['--plan', str(plan), '--ledger', str(ledger)]
        if planned:
            tools.run.main([*files, '--plan-rows'])
        code = tools.run.main(
            [
                *('--scale', 'digits', *files),
                *('--work-dir', str(tmp_path / 'w'), *options),
            ]
        )
        return code, [e['row'] for e in tools.ledger.read_ledger(ledger)]

    return run


def test_the_queue_goes_on_where_it_stopped(queue, capsys):
    rows = [row(seeds=[0, 1])]
    assert queue(rows, '--jobs', '1') == (
        0,
        ['digits/ahpcl/0', 'digits/ahpcl/1'],
    )
    assert 'digits/ahpcl/0: 50.00' in capsys.readouterr().out
    # Nothing is run twice; what is new in the plan is.
    code, done = queue([row(seeds=[0, 1, 2])], '--jobs', '1')
    assert code == 0 and done[2:] == ['digits/ahpcl/2']
    # A config that changed is another row.
    changed = [row(options={'model.queue_len': 64})]
    assert queue(changed, '--list')[0] == 0
    assert '1 of 1 rows' in capsys.readouterr().out


def test_a_second_queue_on_one_ledger_is_refused(queue, tools, tmp_path):
    lock = tools.row_queue._locked(str(tmp_path / 'ledger.jsonl'))
    with pytest.raises(
        SystemExit,
        match=rf'no other queue on .*ledger.jsonl.* \(process {os.getpid()}\)',
    ):
        queue([row()])
    lock.close()
    assert queue([row()]) == (0, ['digits/ahpcl/0'])


def test_bfloat16_needs_its_instructions(queue, tools, monkeypatch):
    rows = [row(options={'optim_wrapper.type': 'BF16OptimWrapper'})]
    name = 'has_bf16_instructions'
    monkeypatch.setattr(tools.row_queue, name, lambda device: False)
    with pytest.raises(
        SystemExit, match=r'for the scale digits.*other scales'
    ):
        queue(rows)
    monkeypatch.setattr(tools.row_queue, name, lambda device: True)
    assert queue(rows)[0] == 0


def test_a_row_runs_only_as_it_was_planned(queue, tools, tmp_path):
    with pytest.raises(SystemExit, match=r'1 that were not planned: .*/0'):
        queue([row()], planned=False)
    assert queue([row()])[1] == ['digits/ahpcl/0']
    # The config of both is changed after they were planned: what has run
    # stays, what is pending is refused until it is planned again.
    rows = [row(seeds=[0, 1])]
    plan = write_plan(tmp_path, rows)
    file = tools.plan.planned_file(plan)
    names = [r.name for r in tools.plan.read_plan(plan).rows]
    file.write_text(json.dumps(dict.fromkeys(names, 'another')))
    ledger = tmp_path / 'ledger.jsonl'
    (ran,) = tools.ledger.read_ledger(ledger)
    ledger.write_text(json.dumps(dict(ran, digest='another')) + '\n')
    with pytest.raises(
        SystemExit, match=r'1 that have another config .*ahpcl/1; .*--replan'
    ):
        queue(rows)
    files = ['--plan', str(plan), '--ledger', str(ledger)]
    assert tools.run.main([*files, '--replan-rows']) == 0
    assert queue(rows)[1] == ['digits/ahpcl/0', 'digits/ahpcl/1']
    assert json.loads(file.read_text())['digits/ahpcl/0'] == 'another'


def test_what_is_superseded_runs_again_and_stays_in_the_ledger(
    queue, tools, tmp_path
):
    assert queue([row(seeds=[0, 1])])[0] == 0
    ledger = tmp_path / 'ledger.jsonl'
    old = [
        dict(e, finished='2026-01-01')
        for e in tools.ledger.read_ledger(ledger)
    ]
    ledger.write_text(''.join(json.dumps(e) + '\n' for e in old))
    rule = dict(rows='*/ahpcl/[1-9]', before='2026-02-01', reason='a defect')
    plan = write_plan(tmp_path, [row(seeds=[0, 1])], superseded=[rule])
    known = tools.plan.read_plan(plan).superseded
    found = tools.ledger.newest(old, known)
    assert [key[2] for key in found] == [0]
    later = dict(old[1], finished='2026-03-01')
    assert len(tools.ledger.newest([*old, later], known)) == 2
    # And may have another config then, where what counts keeps its own.
    planned = tools.plan.planned_file(plan)
    planned.write_text(json.dumps({entry['row']: 'another' for entry in old}))
    files = ['--plan', str(plan), '--ledger', str(ledger)]
    assert tools.run.main([*files, '--replan-rows']) == 0
    digests = json.loads(planned.read_text())
    assert digests['digits/ahpcl/0'] == 'another'
    assert digests['digits/ahpcl/1'] == old[1]['digest']


def test_a_scale_without_its_images_names_what_gets_them(tools, tmp_path):
    plan = write_plan(tmp_path, [row(scale='cifar10')])
    args = tools.run.parse_args(
        [
            *('--scale', 'cifar10', '--plan', str(plan)),
            *('--data-root', str(tmp_path / 'nothing')),
        ]
    )
    with pytest.raises(
        ValueError, match=r"'cifar10' in .*nothing, .*converters/cifar10.py"
    ):
        tools.row_queue.Queue(tools.plan.read_plan(plan), args)


def test_rows_whose_code_is_gone_do_not_run(tools, tmp_path):
    plan = write_plan(
        tmp_path, [row(config=['ahpcl', 'mocov2'])], ended=['mocov2']
    )
    files = ['--plan', str(plan)]
    tools.run.main([*files, '--plan-rows'])
    ledger = ['--ledger', str(tmp_path / 'ledger.jsonl')]
    args = tools.run.parse_args([*files, *ledger, '--scale', 'digits'])
    pending = tools.row_queue.Queue(tools.plan.read_plan(plan), args).pending()
    assert [row.name for row in pending] == ['digits/ahpcl/0']
    with pytest.raises(SystemExit, match='check out the commit'):
        tools.row.main(
            ['digits/mocov2/0', *files, '--out', str(tmp_path / 'o')]
        )
    write_plan(tmp_path, [row()], ended=['simclr'])
    with pytest.raises(ValueError, match=r"in ended, got 'simclr'"):
        tools.plan.read_plan(plan)


def test_a_row_that_fails_is_told_and_the_others_run(queue, capsys):
    code, done = queue([row(seeds=[7, 0])], '--jobs', '1')
    assert code == 1
    assert done == ['digits/ahpcl/0']
    said = capsys.readouterr().out
    assert 'digits/ahpcl/7: failed' in said and 'seed 7 fails' in said


def test_the_budget_ends_what_runs_and_begins_nothing_too_long(queue, capsys):
    rows = [row(seeds=[0, 1])]
    assert queue(rows, '--jobs', '1', '--budget', '2s', seconds=60)[1] == []
    assert 'digits/ahpcl/0: stopped' in capsys.readouterr().out
    assert queue(rows, '--jobs', '2', '--budget', '60s', seconds=3)[0] == 0
    # The rows took 3 seconds each: there is no time for another.
    more = [row(seeds=[0, 1, 2])]
    assert len(queue(more, '--budget', '2s', seconds=3)[1]) == 2


def test_rows_of_another_device_are_run_again_on_request(
    queue, tools, monkeypatch, capsys
):
    assert queue([row()])[1] == ['digits/ahpcl/0']
    assert len(queue([row()], '--this-device')[1]) == 1  # it was this one
    monkeypatch.setattr(tools.row_queue, 'device_here', lambda: 'a GPU')
    assert len(queue([row()])[1]) == 1
    code, done = queue([row()], '--this-device', '--list')
    said = capsys.readouterr().out
    # What a CPU took says nothing about the seconds here.
    assert 'digits/ahpcl/0  unknown' in said and '1 of 1 rows' in said
    code, done = queue([row()], '--this-device')
    assert code == 0 and len(done) == 2


def test_a_copy_without_a_repository_names_its_commit(tools, monkeypatch):
    assert len(tools.provenance.source()['commit']) == 40
    monkeypatch.setattr(tools.provenance, 'ROOT', Path('/'))
    monkeypatch.setenv('AHPCL_COMMIT', 'abc')
    assert tools.provenance.source() == dict(commit='abc', changed=None)


def test_a_run_that_has_another_name_now_is_not_run_again(queue):
    same = {'model.queue_len': 512}  # as it is
    assert queue([row(options=same)])[1] == ['digits/ahpcl queue_len=512/0']
    code, done = queue([row(), row(options=same)])
    assert code == 0 and len(done) == 1
    # Two names of one run that has not been: it runs once.
    code, done = queue([row(seeds=[1]), row(seeds=[1], options=same)])
    assert code == 0 and len(done) == 2


def test_a_row_that_replays_waits_for_what_it_replays(queue, capsys):
    rows = [
        row(['yoked', 'fixed_pace'], seeds=[0]),
        row(seeds=[0, 1]),
    ]
    code, done = queue(rows, '--jobs', '1')
    # Seed 1 is what the yoked run replays; the pace is of both.
    assert code == 0
    assert done == [
        'digits/ahpcl/0',
        'digits/ahpcl/1',
        'digits/yoked/0',
        'digits/fixed_pace/0',
    ]


def test_an_unknown_scale_is_refused(queue):
    with pytest.raises(SystemExit, match='digits, got cpu'):
        queue([row()], '--scale', 'cpu')


def test_a_bad_budget_is_refused(tools):
    assert tools.run.seconds('1.5h') == 5400
    with pytest.raises(SystemExit):
        tools.run.parse_args(['--budget', 'soon'])


# ---- controls of the policies -------------------------------------------


def test_advances_are_replayed(tools, tmp_path):
    rows = [
        row(['yoked', 'fixed_pace'], seeds=[0, 1, 2]),
        row(seeds=[0, 1, 2]),
    ]
    plan = tools.plan.read_plan(write_plan(tmp_path, rows))
    ladder = [[200, 100, 50], [100, 50, 25], [50, 25, 10]]
    stays = {0: [2, 3], 1: [4, 3], 2: [6]}
    entries = []
    for seed, numbers in stays.items():
        found = entry(plan, 'ahpcl', seed, 30.0)
        rungs = [ladder[i] for i, n in enumerate(numbers) for _ in range(n)]
        found['curves']['rungs'] = [[], *rungs, ladder[len(numbers)]]
        entries.append(found)
    policies = {}
    for planned in plan.rows:
        config = tools.replay.replayed(planned, planned.read(), plan, entries)
        policies[planned.name] = config.custom_hooks[0].policy
    rule = [(10, 3), (25, 3), (50, 4)]
    assert policies['digits/yoked/0'].epochs == [(25, 3), (50, 4)]
    assert policies['digits/yoked/1'].epochs == [(50, 6)]
    assert policies['digits/yoked/2'].epochs == [(25, 3), (50, 2)]
    assert policies['digits/fixed_pace/1'].epochs == rule[1:]
    assert policies['digits/ahpcl/1'].type == 'SlidingWindowPolicy'
    with pytest.raises(ValueError, match='digits/ahpcl/1'):
        yoked = plan.rows[0]
        tools.replay.replayed(yoked, yoked.read(), plan, entries[:1])


def test_a_replay_needs_another_seed(tools, tmp_path):
    rows = [row('yoked'), row()]
    plan = tools.plan.read_plan(write_plan(tmp_path, rows))
    with pytest.raises(ValueError, match="another planned seed of 'ahpcl'"):
        tools.replay.sources(plan.rows[0], plan)


# ---- clusters that know the classes --------------------------------------


def test_the_oracle_groups_by_class_but_for_a_share(tools):
    import torch

    from ahpcl.core import ClusterLadder, pair_precision
    from ahpcl.datasets import Digits
    from ahpcl.engine import ClusterRequest

    labels = torch.as_tensor(Digits(split='train').get_gt_labels())
    features = torch.randn(len(labels), 8, generator=torch.manual_seed(0))
    request = ClusterRequest((10,), 'independent', temperature=0.2, seed=3)
    known = dict(type='Digits', split='train', decoded_cache='auto')
    found = {}
    for wrong in (0.0, 0.5):
        oracle = tools.oracle.OracleClustering(known, wrong=wrong)
        oracle.check(
            ClusterLadder([10], window=1), len(labels), 'independent', 'cpu'
        )
        (level,) = oracle(features, request).levels
        found[wrong] = pair_precision(level.assignments, labels)
        rows = torch.nn.functional.normalize(features, dim=1)
        mean = rows[level.assignments == 4].mean(0)
        torch.testing.assert_close(level.centroids[4], mean / mean.norm())
        (again,) = oracle(features, replace(request, epoch=5)).levels
        assert torch.equal(again.assignments, level.assignments)
    # By chance a tenth of the pairs are right: 0.55 ** 2 + 9 * 0.05 ** 2.
    assert found[0.0] == 100 and abs(found[0.5] - 32.5) < 3
    with pytest.raises(ValueError, match='one rung 10'):
        oracle.check(
            ClusterLadder([25], window=1), len(labels), 'independent', 'cpu'
        )
    pure = tools.oracle.OracleClustering(known)
    (level,) = pure(features, replace(request, num_clusters=(40,))).levels
    assert pair_precision(level.assignments, labels) == 100
    assert len(level.assignments.unique()) == 40


@pytest.fixture
def mixed_level():
    """Three clusters of the digits' training images, none of them pure."""
    from ahpcl.core import PrototypeHierarchy, PrototypeLevel
    from ahpcl.datasets import Digits

    labels = torch.as_tensor(Digits(split='train').get_gt_labels())
    generator = torch.manual_seed(0)
    drawn = torch.randint(3, labels.shape, generator=generator)
    kept = torch.rand(len(labels), generator=generator) < 0.7
    clusters = torch.where(kept, labels % 3, drawn)
    centroids = torch.nn.functional.normalize(
        torch.randn(3, 8, generator=generator), dim=1
    )
    level = PrototypeLevel(centroids, clusters, torch.full((3,), 0.2))
    return labels, PrototypeHierarchy([level])


def test_negatives_are_of_other_classes(tools, mixed_level):
    labels, levels = mixed_level
    known = dict(type='Digits', split='train')
    selection = tools.oracle.OtherClassNegatives(known)
    index = torch.arange(50, 90)
    (mask,) = selection.prototype_masks(levels, index, None)
    clusters = levels.levels[0].assignments
    for cluster in range(3):
        inside = labels[clusters == cluster].tolist()
        most = max(range(10), key=inside.count)
        expected = [int(labels[i]) != most for i in index]
        assert mask[:, cluster].tolist() == expected
    assert not mask.all()


@pytest.mark.parametrize('of', ['clusters', 'images'])
def test_weights_are_true_purity_beyond_chance(tools, mixed_level, of):
    labels, levels = mixed_level
    (level,) = levels.levels
    loss = tools.oracle.TruePurityProtoNCE(dict(type='Digits'), of=of)
    expected = []
    for cluster, label in zip(level.assignments, labels, strict=True):
        inside = labels[level.assignments == cluster].tolist()
        kind = int(label)
        if of == 'clusters':
            kind = max(range(10), key=inside.count)
        share = inside.count(kind) / len(inside)
        chance = labels.tolist().count(kind) / len(labels)
        expected.append(max((share - chance) / (1 - chance), 0))
    expected = torch.tensor(expected)
    expected = expected / expected.mean()
    torch.testing.assert_close(loss.weights(level), expected)
    index = torch.arange(16)
    query = torch.nn.functional.normalize(
        torch.randn(16, 8, generator=torch.manual_seed(1)), dim=1
    )
    logits = query @ level.centroids.t() / 0.2
    losses = [
        -float(logits[i].log_softmax(0)[level.assignments[i]]) for i in index
    ]
    mean = sum(w * v for w, v in zip(expected, losses, strict=False)) / 16
    assert float(loss(query, level, index)[0]) == pytest.approx(float(mean))


# ---- tables --------------------------------------------------------------


def entry(plan, variant, seed, value):
    found = next(
        r for r in plan.rows if (r.variant, r.seed) == (variant, seed)
    )
    budget = dict(images=10, forward=80.0, backward=40.0, train_seconds=20.0)
    return dict(
        row=found.name,
        scale=found.scale,
        part=found.part,
        digest=found.digest(),
        variant=variant,
        seed=seed,
        metrics={'knn/top1': value, 'cluster/nmi': 0.5},
        budget=budget,
        curves=dict(estep_extract_seconds=1.0, estep_cluster_seconds=3.0),
    )


def test_tables_say_what_the_ledger_says(tools, tmp_path):
    seeds = [0, 1, 2]
    plan = tools.plan.read_plan(
        write_plan(tmp_path, [row(['ahpcl', 'mocov2', 'pcl'], seeds)])
    )
    values = dict(
        ahpcl=[30, 31, 32], mocov2=[28, 29.1, 29.9], pcl=[33, 29, 31]
    )
    entries = [
        entry(plan, variant, seed, value)
        for variant, found in values.items()
        for seed, value in zip(seeds, found, strict=True)
    ]
    stale = dict(entries[0], digest='another', metrics={'knn/top1': 99.0})
    page = (
        'before\n<!-- begin a/digits/val -->\nof yore\n'
        '<!-- end a/digits/val -->\n'
        '<!-- begin pending -->\n<!-- end pending -->\nafter\n'
    )
    text = tools.table.rendered(page, plan, [*entries, stale])
    assert text.startswith('before\n') and text.endswith('after\n')
    assert 'of yore' not in text and '99' not in text
    assert '9 of 9 rows' in text
    lines = {
        line.split(' | ')[0].strip('| '): line for line in text.split('\n')
    }
    assert '| 31.00 ± 2.48 | - |' in lines['ahpcl']
    assert '| -2.00 ± 0.25 | worse |' in lines['mocov2']
    assert '| +0.00 ± 6.57 | not told apart |' in lines['pcl']
    assert '| 8.0 | 4.0 | 20 | 20.0 |' in lines['pcl']
    # Rendering what was rendered changes nothing.
    assert tools.table.rendered(text, plan, [*entries, stale]) == text


def test_a_variant_may_have_a_control_of_its_own(tools, tmp_path):
    rows = [row(['ahpcl', 'mocov2', 'pcl'], [0, 1])]
    path = write_plan(tmp_path, rows, controls={'pcl': 'mocov2'})
    plan = tools.plan.read_plan(path)
    values = dict(ahpcl=[30, 31], mocov2=[20, 21], pcl=[22, 23])
    entries = [
        entry(plan, variant, seed, found[seed])
        for variant, found in values.items()
        for seed in (0, 1)
    ]
    page = '<!-- begin a/digits/val -->\n<!-- end a/digits/val -->\n'
    text = tools.table.rendered(page, plan, entries)
    assert '| -10.00 ± 0.00 | worse |' in text  # mocov2 with ahpcl
    assert '| +2.00 ± 0.00 (mocov2) | better |' in text
    with pytest.raises(ValueError, match="in controls, got 'nobody'"):
        tools.plan.read_plan(
            write_plan(tmp_path, rows, controls={'pcl': 'nobody'})
        )


def test_an_estep_without_seconds_is_not_said_to_take_none(tools, tmp_path):
    plan = tools.plan.read_plan(write_plan(tmp_path, [row()]))
    found = dict(entry(plan, 'ahpcl', 0, 30.0), curves={})
    page = '<!-- begin a/digits/val -->\n<!-- end a/digits/val -->\n'
    text = tools.table.rendered(page, plan, [found])
    assert '| 8.0 | 4.0 | 20 | - |' in text


@pytest.mark.parametrize(
    ('hardware', 'marked'),
    [
        (dict(cpu='A', rounding='1'), False),
        (dict(cpu='B', rounding='1'), True),
        (dict(cpu='A', rounding='2'), True),
        # From before rows said it.
        (dict(cpu='A'), False),
    ],
)
def test_pairs_of_unlike_processors_are_marked(
    tools, tmp_path, hardware, marked
):
    plan = tools.plan.read_plan(
        write_plan(tmp_path, [row(['ahpcl', 'pcl'], [0, 1])])
    )
    entries = []
    for seed in (0, 1):
        first, second = (
            entry(plan, variant, seed, 30.0 + seed)
            for variant in ('ahpcl', 'pcl')
        )
        first['hardware'] = dict(cpu='A', rounding='1')
        second['hardware'] = hardware
        entries += [first, second]
    page = '<!-- begin a/digits/val -->\n<!-- end a/digits/val -->\n'
    text = tools.table.rendered(page, plan, entries)
    assert ('other hardware' in text) is marked


def test_rounding_is_of_the_processor_not_of_the_run(tools):
    assert tools.provenance.rounding() == tools.provenance.rounding()
    assert tools.provenance.hardware(1)['rounding']


def test_runs_of_two_names_count_once(tools, tmp_path):
    same = {'model.queue_len': 512}  # as it is
    plan = tools.plan.read_plan(
        write_plan(tmp_path, [row(), row(options=same), row(seeds=[1])])
    )
    page = '<!-- begin pending -->\n<!-- end pending -->\n'
    text = tools.table.rendered(page, plan, [entry(plan, 'ahpcl', 0, 30.0)])
    assert '`digits`: 1 of 2 rows' in text


def test_plots_are_of_the_ledger(tools, tmp_path):
    from PIL import Image

    path = write_plan(tmp_path, [row(['ahpcl', 'mocov2'], [0, 1])])
    plan = tools.plan.read_plan(path)
    page, ledger = tmp_path / 'README.md', tmp_path / 'ledger.jsonl'
    page.write_text(
        '<!-- begin a/digits/val/plot -->\n<!-- end a/digits/val/plot -->\n'
    )
    options = [
        *('--plan', str(path), '--ledger', str(ledger)),
        *('--pages', str(tmp_path)),
    ]
    assert tools.table.main(options) == 0
    assert 'No row has run' in page.read_text()
    for variant in ('ahpcl', 'mocov2'):
        found = entry(plan, variant, 0, 30.0)
        found['curves'] |= {
            'knn/top1': [[1.0, 20.0], [2.0, 30.0]],
            'acc_proto': [[1.0, 10.0], [2.0, 20.0]],
            'rungs': [[20, 10], [10, 5]] if variant == 'ahpcl' else [],
        }
        tools.ledger.append(found, ledger)
    assert tools.table.main([*options, '--check']) == 1
    assert tools.table.main(options) == 0
    assert '![first (digits, val)](a_digits_val.png)' in page.read_text()
    picture = tmp_path / 'a_digits_val.png'
    with Image.open(picture) as image:
        assert image.width > 800
        pixels = set(image.convert('RGB').getdata())
    assert {(0, 114, 178), (230, 159, 0)} <= pixels  # both methods
    assert tools.table.main([*options, '--check']) == 0
    # Another result makes the picture stale.
    changed = dict(found, metrics={}, curves={'knn/top1': [[1.0, 3.0]]})
    tools.ledger.append(changed, ledger)
    assert tools.table.main([*options, '--check']) == 1


def test_the_results_page_is_what_the_ledger_says(tmp_path):
    done = processes.run(TOOLS / 'table.py', '--check', folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


# ---- rows ----------------------------------------------------------------


@pytest.mark.campaign
def test_a_row_trains_measures_and_counts(tmp_path):
    out = tmp_path / 'row.json'
    plan = write_plan(
        tmp_path, [row(options={'custom_hooks.0.warmup_epochs': 0})]
    )
    name = 'digits/ahpcl warmup_epochs=0/0'
    done = processes.run(
        TOOLS / 'row.py',
        *(name, '--out', out, '--plan', plan, '--work-dir', tmp_path),
        folder=tmp_path,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(out.read_text())
    budget = found['budget']
    # 22 batches of 64, two epochs. Symmetric: two queries and two keys; an
    # extraction of all images per epoch, and one at the end.
    learnt = 2 * 2 * 22 * 64
    assert budget['backward'] == learnt
    assert budget['forward'] == 2 * learnt + 3 * 1442
    assert budget['epochs'] == 2 and budget['steps'] == 44
    assert budget['train_seconds'] > found['curves']['estep_cluster_seconds']
    assert len(found['curves']['knn/top1']) == 2
    assert found['curves']['rungs'][0] == [200, 100, 50]
    metrics = found['metrics']
    for metric in ('knn/top1', 'linear/logreg_top1', 'fewshot/5way_5shot'):
        assert 20 < metrics[metric] <= 100, metric


@pytest.mark.campaign
def test_a_fork_in_the_warm_up_is_the_run_from_scratch(tmp_path):
    fork = row(seeds=[1], start_from='mocov2@1')
    plan = write_plan(tmp_path, [row(['ahpcl', 'mocov2'], [1]), fork])
    found = []
    for name in ('digits/ahpcl/1', 'digits/ahpcl from mocov2@1/1'):
        out = tmp_path / 'row.json'
        done = processes.run(
            TOOLS / 'row.py',
            *(name, '--out', out, '--plan', plan, '--work-dir', tmp_path),
            folder=tmp_path,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        found.append(json.loads(out.read_text()))
    whole, fork = found
    assert fork['metrics'] == whole['metrics']
    assert fork['curves']['loss_proto'] == whole['curves']['loss_proto']
    # Half of the steps were the parent's.
    assert 2 * fork['budget']['backward'] == whole['budget']['backward']


def small_tin100(root):
    """Random pictures in TIN-100's form: 4, 5 and 5 classes of 24."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    (root / 'images').mkdir(parents=True)
    for split, count in (('train', 4), ('val', 5), ('test', 5)):
        lines = ['filename,label']
        for kind in range(count):
            label = f'n{split}{kind}'
            for number in range(1, 25):
                name = f'{label}{number:08d}.jpg'
                pixels = rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / 'images' / name)
                lines.append(f'{name},{label}')
        (root / f'{split}.csv').write_text('\n'.join(lines) + '\n')


def shrunk(node, root):
    """A config of a scale for a GPU, in place, for seconds on a CPU."""
    if isinstance(node, dict):
        if node.get('type') == 'MiniImageNet':
            node['data_root'] = str(root)
            for name, number in dict(train=12, test=6).items():
                if node.get(f'{name}_per_class'):
                    node[f'{name}_per_class'] = number
        if 'num_workers' in node:
            node.update(num_workers=0, persistent_workers=False)
        if node.get('type') == 'ClusterLadder':
            node['rungs'] = [16, 8, 4, 2]
    for child in node.values() if isinstance(node, dict) else node:
        if isinstance(child, dict | list | tuple):
            shrunk(child, root)


@pytest.mark.campaign
@pytest.mark.parametrize(
    ('scale', 'images', 'metric'),
    [
        ('gpu', 14 * 12, 'linear/logreg_top1'),
        ('gpu_short', 14 * 12, 'linear/sgd_top1'),
        ('gpu_classes', 4 * 24, 'fewshot/5way_5shot'),
    ],
)
def test_the_protocols_for_a_gpu_run(tools, tmp_path, scale, images, metric):
    small_tin100(tmp_path / 'data')
    planned = tools.plan.Row(scale, 'ahpcl', 'ahpcl', 0, 'val', 'a')
    config = tools.row.prepared(planned, tmp_path, None)
    shrunk(config._cfg_dict, tmp_path / 'data')
    config.merge_from_dict(
        {
            'train_dataloader.batch_size': 32,
            'train_cfg.max_epochs': 2,
            'train_cfg.val_interval': 1,
            'model.queue_len': 32,
            'custom_hooks.0.warmup_epochs': 0,
            # An eighth of the width: a sixtieth of the time.
            'model.backbone.stem_channels': 8,
            'model.backbone.base_channels': 8,
            'model.neck.in_channels': 64,
        }
    )
    checkpoint, cost = tools.row.train(config)
    assert cost['images'] == images and cost['steps'] > 0
    for part in ('val', 'test'):
        found = tools.row.measure(config, checkpoint, part)
        assert {'knn/top1', metric} < set(found['metrics'])
        levels = [level['clusters'] for level in found['prototypes']]
        assert levels == [16, 8, 4]


def test_what_the_images_of_a_cluster_share():
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(60, 2, generator=generator, dtype=torch.double)
    clusters = torch.arange(60) % 3
    with tool_modules('experiments', 'what_clusters_join') as modules:
        share = modules['what_clusters_join'].share_between
    within = sum(
        float(((part := values[clusters == c]) - part.mean(0)).square().sum())
        for c in range(3)
    )
    total = float((values - values.mean(0)).square().sum())
    assert share(values, clusters) == pytest.approx(100 * (1 - within / total))
    # A cluster of alike images tells all, one cluster nothing.
    assert share(clusters[:, None], clusters) == pytest.approx(100)
    assert share(values, clusters * 0) == pytest.approx(0)


def test_the_purest_and_the_most_mixed_clusters_are_shown():
    # Clusters 0 to 5 of ten images: 5, 9, 3, 10, 7 and 2 of one class; 6 has
    # a single image, and is pure by chance.
    clusters = torch.arange(6).repeat_interleave(10)
    labels = torch.cat(
        [
            torch.cat([torch.zeros(n), torch.arange(1, 11 - n)])
            for n in (5, 9, 3, 10, 7, 2)
        ]
    ).long()
    clusters = torch.cat([clusters, torch.tensor([6])])
    labels = torch.cat([labels, torch.tensor([0])])
    with tool_modules('experiments', 'what_clusters_join') as modules:
        chosen = modules['what_clusters_join'].best_and_worst
        assert chosen(clusters, labels) == [3, 1, 2, 5]


def test_what_is_linear_in_the_colour_is_taken_out():
    generator = torch.Generator().manual_seed(0)
    colour = torch.randn(200, 3, generator=generator)
    other = torch.randn(200, 8, generator=generator)
    other = torch.cat([other, -other])
    colour = torch.cat([colour, colour])
    points = other + 5 * colour @ torch.randn(3, 8, generator=generator)
    with tool_modules('experiments', 'what_clusters_join') as modules:
        left = modules['what_clusters_join'].without(points, colour)
    expected = torch.nn.functional.normalize(other, dim=1)
    torch.testing.assert_close(left, expected, atol=1e-5, rtol=1e-4)
