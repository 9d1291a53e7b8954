"""The site is built without a warning, whole, and without a network."""

import importlib.util
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from mmengine import registry

from ahpcl import api, core
from ahpcl.core import metrics

ROOT = Path(__file__).parents[2]
NEEDED = ('sphinx', 'myst_parser', 'furo')
REGISTRIES = (
    *('MODELS', 'HOOKS', 'DATASETS', 'TRANSFORMS', 'METRICS'),
    *('TASK_UTILS', 'DATA_SAMPLERS', 'LOOPS', 'OPTIM_WRAPPERS', 'FUNCTIONS'),
    'INFERENCERS',
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in NEEDED),
        reason="the site needs pip install 'ahpcl[docs]'",
    ),
]


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    """The site as ``make docs`` builds it, and what was said."""
    out = tmp_path_factory.mktemp('site')
    done = subprocess.run(
        [
            *(sys.executable, '-m', 'sphinx', '-q', '-W', '--keep-going'),
            *('-b', 'html', '-d', str(out / 'trees')),
            *(str(ROOT / 'docs'), str(out / 'html')),
        ],
        capture_output=True,
        text=True,
        # A network that is not there: whoever asks it fails.
        env={
            **os.environ,
            'http_proxy': 'http://127.0.0.1:9',
            'https_proxy': 'http://127.0.0.1:9',
        },
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out / 'html'


def test_every_page_is_in_it(site):
    for page in (ROOT / 'docs').rglob('*.md'):
        name = page.relative_to(ROOT / 'docs')
        if name.parts[0] != '_build':
            assert (site / name).with_suffix('.html').is_file(), name


class Links(HTMLParser):
    """The links of a page, and what it loads from elsewhere."""

    def __init__(self):
        super().__init__()
        self.links, self.loaded = [], []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == 'a':
            self.links.append(attrs.get('href') or '')
        elif tag == 'link' and 'stylesheet' in (attrs.get('rel') or ''):
            self.loaded.append(attrs.get('href') or '')
        elif attrs.get('src'):
            self.loaded.append(attrs['src'])


def test_links_lead_somewhere_and_nothing_is_fetched(site):
    wrong = []
    for page in site.rglob('*.html'):
        found = Links()
        found.feed(page.read_text('utf-8'))
        for target in [*found.links, *found.loaded]:
            if target.startswith(('http:', 'https:', '//', 'data:')):
                if target in found.loaded:
                    wrong.append((page.name, target))
                continue
            path = target.partition('#')[0].partition('?')[0]
            if path and not (page.parent / path).exists():
                wrong.append((page.name, target))
    assert not wrong


def test_the_reference_is_complete(site):
    text = ''.join(p.read_text('utf-8') for p in (site / 'api').glob('*.html'))
    ids = set(re.findall(r'id="(ahpcl\.[\w.]+)"', text))
    last = {name.rpartition('.')[2] for name in ids}
    for module in (core, metrics, api):
        assert not set(module.__all__) - last, module
    missing = set()
    for kind in REGISTRIES:
        for component in getattr(registry, kind).module_dict.values():
            home = getattr(component, '__module__', '')
            name = component.__name__
            ours = home.startswith('ahpcl.') and 'renamed' not in home
            if ours and name not in last:
                missing.add(f'{home}.{name}')
    assert not missing
