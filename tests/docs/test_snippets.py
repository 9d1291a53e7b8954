"""Every snippet of README and docs is run, or says why not.

A fenced block is one of three things:

- Python, which is executed here: the blocks of a page one after the other, in
  one namespace, in a folder with images and a tiny run. A block that begins
  with ``# name.py`` is that file; a config (a block with ``_base_``) is read
  by mmengine.
- shell, whose every command must exist with these options: the program's own
  parser reads them, and named files must be there.
- marked by a line ``<!-- not run: reason -->`` before it, or the record of a
  measurement, which tools write between ``<!-- begin x -->`` and
  ``<!-- end x -->``: the command as it was then.
"""

import argparse
import contextlib
import io
import os
import re
import runpy
import shlex
import shutil
import sys
from collections import namedtuple
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

import ahpcl
import ahpcl.cli.main
import ahpcl.doctor
import toy

ROOT = toy.ROOT
PAGES = [
    ROOT / 'README.md',
    *(
        page
        for page in sorted((ROOT / 'docs').rglob('*.md'))
        if '_build' not in page.parts
    ),
]
SHELL = ('bash', 'sh', 'shell', 'console')
PYTHON = ('python', 'py')
# Blocks of no language are shell where a line begins like a command.
COMMAND = re.compile(
    r'^(\$ |[A-Z_]+=\S+ )?(python|ahpcl|bash|pip|git|make) ', re.MULTILINE
)
FENCE = re.compile(
    r'(?:<!-- not run: (?P<reason>[^>]+?) -->\n+)?'
    r'^(?P<mark>```+)(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=mark) *$',
    re.MULTILINE | re.DOTALL,
)
RECORD = re.compile(r'<!-- begin (\S+) -->.*?<!-- end \1 -->', re.DOTALL)
Block = namedtuple('Block', 'page line kind text reason')


def blocks_of(text, page='page'):
    """The Python and shell blocks of a page."""
    found = []
    # What a tool wrote stays as lines, so that numbers of lines are right.
    text = RECORD.sub(lambda m: '\n' * m[0].count('\n'), text)
    for match in FENCE.finditer(text):
        language = match['language'].strip().lower()
        kind = None
        if language in PYTHON:
            kind = 'python'
        elif language in SHELL or (
            not language and COMMAND.search(match['text'])
        ):
            kind = 'shell'
        if kind:
            line = text[: match.start('mark')].count('\n') + 1
            found.append(
                Block(page, line, kind, match['text'], match['reason'])
            )
    return found


def name_of(page):
    return str(page.relative_to(ROOT))


BLOCKS = [
    block
    for page in PAGES
    for block in blocks_of(page.read_text('utf-8'), name_of(page))
]
RUN = [block for block in BLOCKS if not block.reason]


def test_pages_have_snippets():
    # The collection itself works: were a pattern wrong, all would pass.
    assert len([b for b in BLOCKS if b.kind == 'shell']) > 40
    assert len([b for b in BLOCKS if b.kind == 'python']) > 20


@pytest.mark.parametrize('block', [b for b in BLOCKS if b.reason], ids=str)
def test_reasons_say_something(block):
    assert len(block.reason.split()) > 4


# --- shell ---------------------------------------------------------------


class Parsed(BaseException):
    """A program's parser took its arguments; it shall not run."""


_parse = argparse.ArgumentParser.parse_args


def _stop(parser, args=None, namespace=None):
    raise Parsed(_parse(parser, args, namespace))


def parse(start, argv, lenient=False):
    """Let a program parse its arguments, and stop there."""
    said = io.StringIO()
    with (
        mock.patch.object(argparse.ArgumentParser, 'parse_args', _stop),
        mock.patch.object(sys, 'argv', argv),
        mock.patch.object(sys, 'path', list(sys.path)),
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(said),
    ):
        try:
            start()
        except Parsed:
            return
        except SystemExit as end:
            if end.code in (0, None) and '--help' in argv:
                return
            text = said.getvalue()
            if lenient and 'required' in text:
                return
            raise AssertionError(f'{shlex.join(argv)}: {text}') from None
    raise AssertionError(f'{shlex.join(argv)}: parsed nothing')


def commands(text):
    """The commands of a shell block, as lists of words."""
    for line in text.replace('\\\n', ' ').splitlines():
        line = line.strip().removeprefix('$ ')
        if re.match(r'[A-Z_]+=\$\(', line):
            yield [line]
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars='&|;')
        lexer.whitespace_split = True
        words = []
        for word in lexer:
            if set(word) <= set('&|;'):
                yield words
                words = []
            else:
                words.append(word)
        if words:
            yield words


ASSIGNED = re.compile(r'[A-Z_]+=')


def check_command(words, variables, lenient=False):
    """Raise where a command, its options or its files do not exist."""
    if len(words) == 1 and ASSIGNED.match(words[0]):
        name, _, value = words[0].partition('=')
        module = re.fullmatch(
            r'\$\(python -c "import (\w+); print\(\1.__path__\[0\]\)"\)(.*)',
            value,
        )
        assert module, f'cannot tell what {words[0]} is'
        package = __import__(module[1])
        variables[name] = package.__path__[0] + module[2]
        return
    while words and ASSIGNED.match(words[0]):
        words = words[1:]
    words = [
        re.sub(r'\$([A-Z_]+)', lambda m: variables.get(m[1], m[0]), word)
        for word in words
    ]
    check_files(words)
    program, *rest = words
    if program == 'python':
        check_python(rest, lenient)
    elif program == 'ahpcl':
        check_ahpcl(rest, lenient)
    elif program == 'bash':
        check_script(rest, lenient)
    elif program == 'pip':
        check_pip(rest)
    elif program == 'make':
        text = (ROOT / 'Makefile').read_text()
        for target in rest:
            assert re.search(rf'^{target}:', text, re.MULTILINE), target
    elif program == 'pytest':
        assert rest and all(Path(ROOT / item).exists() for item in rest)
    else:
        assert words[:2] == ['git', 'clone'], f'{program}: mark the block'


def check_files(words):
    for word in words:
        if word.startswith(('configs/', 'tools/', 'tests/')):
            assert list(ROOT.glob(word)), f'there is no {word}'
        if word.startswith('ahpcl::'):
            name = word.removeprefix('ahpcl::')
            assert (ROOT / 'configs' / name).is_file(), f'there is no {word}'
        if word.startswith('/') and '/.mim/' in word:
            assert Path(word).is_file(), f'there is no {word}'


def check_python(rest, lenient):
    if rest[:2] == ['-m', 'ahpcl.doctor']:
        return check_ahpcl(['doctor', *rest[2:]], lenient)
    program, *arguments = rest
    path = Path(program)
    path = path if path.is_absolute() else ROOT / path
    assert path.is_file(), f'there is no {program}'
    known = set(sys.modules)
    sys.path.insert(0, str(path.parent))
    try:
        parse(
            lambda: runpy.run_path(str(path), run_name='__main__'),
            [str(path), *arguments],
            lenient,
        )
    finally:
        sys.path.remove(str(path.parent))
        for name in set(sys.modules) - known:
            file = getattr(sys.modules[name], '__file__', None) or ''
            if Path(file).is_relative_to(ROOT / 'tools'):
                del sys.modules[name]
    return None


def check_ahpcl(rest, lenient):
    if rest and rest[0] == 'COMMAND':
        return
    parse(lambda: ahpcl.cli.main.main(rest), ['ahpcl', *rest], lenient)


def check_script(rest, lenient):
    script, *arguments = rest
    assert (ROOT / script).is_file(), f'there is no {script}'
    first = {'dist_train.sh': 2, 'slurm_train.sh': 3}[Path(script).name]
    if '...' in arguments:
        return
    assert len(arguments) >= first, f'{script} needs {first} arguments'
    config = arguments[0 if first == 2 else 2]
    check_python(
        ['tools/train.py', config, '--launcher=pytorch', *arguments[first:]],
        lenient,
    )


def check_pip(rest):
    assert rest[0] == 'install'
    setup = (ROOT / 'setup.py').read_text()
    extras = re.search(r'extras_require=\{(.*?)\n    \}', setup, re.DOTALL)[1]
    for word in rest[1:]:
        named = re.search(r'(?:ahpcl|\.)\[([\w,]+)\]', word)
        for extra in named[1].split(',') if named else ():
            assert f"'{extra}':" in extras, f'setup.py has no extra {extra}'


@pytest.mark.parametrize(
    'page', sorted({b.page for b in RUN if b.kind == 'shell'})
)
def test_commands_exist(page):
    variables = {}
    wrong = []
    for block in RUN:
        if block.page != page or block.kind != 'shell':
            continue
        for words in commands(block.text):
            try:
                check_command(words, variables)
            except AssertionError as error:
                wrong.append(f'{page}:{block.line}: {error}')
    assert not wrong, '\n'.join(wrong)


INLINE = re.compile(r'(?<!`)`((?:python tools/|ahpcl |bash tools/)[^`\n]+)`')


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_commands_within_the_text_exist(page):
    wrong = []
    text = FENCE.sub('', page.read_text('utf-8'))
    for command in INLINE.findall(text):
        for words in commands(command.replace('...', '')):
            try:
                check_command(words, {}, lenient=True)
            except AssertionError as error:
                wrong.append(f'{command}: {error}')
    assert not wrong, '\n'.join(wrong)


@pytest.mark.parametrize(
    'command',
    [
        'ahpcl train photos/ --minute-hand 3',
        'ahpcl trane photos/',
        'python tools/train.py configs/no_such_config.py',
        'python tools/no_such_tool.py',
        'python tools/dataset_converters/shards.py a b --no-such-option',
        'bash tools/dist_train.sh configs/ahpcl_minin.py',
        'bash tools/dist_train.sh configs/ahpcl_minin.py 8 --no-such',
        'pip install "ahpcl[no_such_extra]"',
        'make no_such_target',
        'rm -rf photos',
    ],
)
def test_what_does_not_exist_is_noticed(command):
    with pytest.raises(AssertionError):
        for words in commands(command):
            check_command(words, {})


def test_a_new_block_needs_a_mark_or_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = '# Page\n\n```bash\nrm -rf photos\n```\n\n```python\n1 / 0\n```\n'
    shell, python = blocks_of(text)
    with pytest.raises(AssertionError, match='mark the block'):
        check_command(next(commands(shell.text)), {})
    with pytest.raises(ZeroDivisionError):
        run_block(python, {})
    marked = '<!-- not run: because it deletes all photos -->\n'
    (block,) = blocks_of(text.replace('```bash', f'{marked}```bash')[:90])
    assert block.reason == 'because it deletes all photos'
    (config,) = blocks_of('```python\n_base_ = "ahpcl::no_such.py"\n```\n')
    with pytest.raises(FileNotFoundError):
        run_block(config, {})


# --- Python --------------------------------------------------------------

#: An encoder that is smaller than the one that is chosen.
SMALL = {
    'model.backbone.stem_channels': 8,
    'model.backbone.base_channels': 8,
    'model.neck.in_channels': 32,
    'train_dataloader.batch_size': 40,
}
#: Runs of half an hour become runs of one epoch of it.
SHORTER = {'minutes=30': f'epochs=1, cfg_options={SMALL}'}


def run_block(block, namespace):
    """Execute a block in the folder that this is; answer its config."""
    text = block.text
    for long, short in SHORTER.items():
        text = text.replace(long, short)
    file = re.match(r'# (\w+\.py)\n', text)
    if file:
        Path(file[1]).write_text(text)
    if re.search(r'^_base_ = ', text, re.MULTILINE):
        name = file[1] if file else f'config_{block.line}.py'
        Path(name).write_text(text)
        return Config.fromfile(name)
    code = compile(text, f'{block.page}:{block.line}', 'exec')
    if not file:
        exec(code, namespace)
    return None


def draw(folder, count, seed=0, size=24):
    """Images of random colours with a random square, and their table."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = np.full((size, size, 3), rng.integers(0, 256, 3), np.uint8)
        x, y = rng.integers(0, size // 2, 2)
        pixels[y : y + size // 2, x : x + size // 2] = rng.integers(0, 256, 3)
        Image.fromarray(pixels).save(folder / f'{number:03d}.png')


@pytest.fixture(scope='module')
def prepared(tmp_path_factory):
    """A folder with ``photos``, ``new``, ``labelled`` and a tiny run."""
    folder = tmp_path_factory.mktemp('snippets')
    draw(folder / 'photos', 240)
    for number, kind in enumerate(('cats', 'dogs')):
        draw(folder / 'labelled' / kind, 6, seed=number)
    draw(folder / 'new', 6, seed=9)
    draw(folder / 'folder', 3, seed=8)
    for name in ('a.jpg', 'cat.jpg'):
        shutil.copy(folder / 'new' / '000.png', folder / name)
    rows = [f'{n:03d}.png,{"good" if n < 200 else "bad"}' for n in range(240)]
    table = folder / 'photos' / 'images.csv'
    table.write_text('\n'.join(['file,quality', *rows]) + '\n')
    (folder / '_base_').symlink_to(ROOT / 'configs' / '_base_')
    with mock.patch.dict(os.environ, AHPCL_CACHE=str(folder / 'cache')):
        ahpcl.train(
            folder / 'photos',
            folder / 'runs' / 'photos',
            epochs=1,
            cfg_options={
                **SMALL,
                'custom_hooks.0.ladder': dict(
                    type='ListedLadder', rungs=[100, 50, 25], window=3
                ),
                'custom_hooks.0.warmup_epochs': 0,
            },
        )
    return folder


@pytest.fixture
def here(prepared, tmp_path, monkeypatch):
    """A copy of it, which is the current folder."""
    folder = tmp_path / 'here'
    shutil.copytree(prepared, folder, symlinks=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv('AHPCL_CACHE', str(tmp_path / 'cache'))
    monkeypatch.syspath_prepend(str(folder))
    return folder


def given(page):
    """What a page's first block has from elsewhere."""
    if page in ('README.md', 'docs/first_run.md'):
        # The page trains its own.
        shutil.rmtree('runs')
        for photo in sorted(Path('photos').glob('*.png'))[40:]:
            photo.unlink()
        return {}
    images = [np.asarray(Image.open('a.jpg').convert('RGB'))] * 2
    names = dict(
        images=images,
        array=images[0],
        pil_image=Image.open('a.jpg'),
        row=dict(path='photos/000.png'),
    )
    if page == 'docs/python.md':
        shutil.copy('runs/photos/epoch_1.pth', 'epoch_200.pth')
        shutil.copy('runs/photos/config.py', 'config.py')
        rng = np.random.default_rng(0)
        names['features'] = rng.normal(size=(2000, 16))
        names['others'] = rng.normal(size=(5, 16))
    if page != 'docs/extend.md':
        names['ahpcl'] = ahpcl
        names['encoder'] = ahpcl.load('runs/photos')
        names['coarsest'] = 25
    return names


PYTHON_PAGES = sorted({b.page for b in RUN if b.kind == 'python'})


@pytest.mark.parametrize('page', PYTHON_PAGES)
def test_python_runs(page, here):
    namespace = given(page)
    for block in RUN:
        if block.page == page and block.kind == 'python':
            run_block(block, namespace)


TRAINED = ('my_policy_digits.py', 'my_loss_digits.py', 'my_data_cpu.py')


@pytest.fixture
def extensions(here):
    """The files of the page about extending, in this folder."""
    for block in RUN:
        file = re.match(r'# (\w+\.py)\n', block.text)
        if block.page == 'docs/extend.md' and file:
            Path(file[1]).write_text(block.text)
    return here


@pytest.mark.slow
@pytest.mark.parametrize('name', TRAINED)
def test_extensions_train(name, extensions, tmp_path, capsys):
    runner = toy.train(shrink(Config.fromfile(name), tmp_path / 'run'))
    assert runner.epoch == 3
    hook = next(h for h in runner.hooks if hasattr(h, 'ladder'))
    if name == 'my_policy_digits.py':
        assert type(hook.policy).__name__ == 'LearntPolicy'
        log = next((tmp_path / 'run').glob('*/*.log')).read_text()
        assert 'of 2 epochs above 80.0' in log
    elif name == 'my_loss_digits.py':
        head = runner.model.head
        assert type(head.loss_inst).__name__ == 'DecoupledInfoNCE'
        assert head.loss_inst.temperature == 0.2
    else:
        data = runner.train_dataloader.dataset
        assert type(data).__name__ == 'CheckedImages' and len(data) == 200
        (level, _) = runner.model.head.hierarchy.levels
        assert len(level.assignments) == 200


def shrink(config, work_dir):
    """Three epochs of a smaller encoder on at most 200 images."""
    config.work_dir = str(work_dir)
    config.experiment_name = work_dir.parent.name
    config.visualizer.name = config.experiment_name
    config.launcher = 'none'
    config.train_cfg = dict(type='CheckedEpochTrainLoop', max_epochs=3)
    for key in ('val_cfg', 'val_dataloader', 'val_evaluator'):
        config[key] = None
    config.merge_from_dict(
        {
            **SMALL,
            'model.queue_len': 64,
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'custom_hooks.0.warmup_epochs': 1,
        }
    )
    (hook,) = config.custom_hooks
    hook.ladder = dict(rungs=[20, 10, 5], window=2)
    for loader in (hook.extract_dataloader, config.train_dataloader):
        loader.dataset.limit = 200
    return config


def test_decoupled_loss_is_its_formula(extensions):
    from my_loss import DecoupledInfoNCE

    generator = torch.Generator().manual_seed(0)
    query, key, queue = (
        torch.nn.functional.normalize(
            torch.randn(n, 8, generator=generator), dim=1
        )
        for n in (5, 5, 12)
    )
    loss, accuracy = DecoupledInfoNCE(0.2)(query, key, queue.t())
    losses, hits = [], 0
    for q, k in zip(query, key, strict=True):
        own = float(q @ k) / 0.2
        others = [float(q @ n) / 0.2 for n in queue]
        losses.append(np.log(np.sum(np.exp(others))) - own)
        hits += own > max(others)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(accuracy) == pytest.approx(20 * hits)
