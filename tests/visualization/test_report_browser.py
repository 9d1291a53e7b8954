"""The page in a browser: no errors, no network, and the explorer opens."""

import shutil
from dataclasses import replace

import pytest
import torch
from mmengine.config import Config

from ahpcl.evaluation.run_data import RunData
from ahpcl.visualization.report import report_page, write_page

pytestmark = pytest.mark.campaign
HOSTILE = '</script><script>alert(1)</script>'
PATH = 'quotes " \' ` and <img src=x onerror=alert(2)>.png'
ARGUMENTS = (
    *('--headless', '--no-sandbox', '--disable-gpu', '--disable-quic'),
    *('--no-first-run', '--disable-background-networking'),
    *('--disable-component-update', '--disable-sync'),
)


@pytest.fixture(scope='module')
def browser():
    api = pytest.importorskip(
        'playwright.sync_api', reason='playwright is not installed'
    )
    path = shutil.which('chromium')
    if path is None:
        pytest.skip('chromium is not installed')
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path, args=list(ARGUMENTS)
        )
        yield started
        started.close()


@pytest.fixture(scope='module')
def report(toy_run, tmp_path_factory):
    """A report with hostile names of a class and of an image."""
    run = RunData(Config.fromfile(toy_run.config), toy_run.checkpoint)
    level = run.hierarchy.levels[-1]
    # The image that the largest of the coarsest prototypes shows first.
    largest = int(level.sizes().argmax())
    distances = run.distances(len(run.hierarchy.levels) - 1).clone()
    distances[level.assignments != largest] = float('inf')
    paths = list(run.training.paths)
    paths[int(distances.argmin())] = PATH
    run.training = replace(
        run.training, paths=tuple(paths), classes=(HOSTILE,) * 10
    )
    text = report_page(run, toy_run.work_dir, config='c.py', max_images=100)
    path = tmp_path_factory.mktemp('report') / 'report.html'
    write_page(text, path)
    return path


@pytest.fixture(scope='module')
def numbered(toy_run, tmp_path_factory):
    """A report with classes called 3 and n0000, n0001, ..."""
    run = RunData(Config.fromfile(toy_run.config), toy_run.checkpoint)
    names = ['3', *(f'n{label:04d}' for label in range(1, 10))]
    run.training = replace(run.training, classes=tuple(names))
    text = report_page(run, toy_run.work_dir, config='c.py', max_images=100)
    path = tmp_path_factory.mktemp('numbered') / 'report.html'
    write_page(text, path)
    return path


class Opened:
    """A page, with everything it said, asked for or popped up."""

    def __init__(self, browser, path, **settings):
        self.page = browser.new_page(
            **{'viewport': {'width': 1200, 'height': 900}} | settings
        )
        self.said, self.asked = [], []
        self.page.on('console', lambda message: self.said.append(message.text))
        self.page.on('pageerror', lambda error: self.said.append(str(error)))
        self.page.on('dialog', self._dialog)
        self.page.on('request', lambda request: self.asked.append(request.url))
        self.page.goto(path.as_uri())

    def _dialog(self, dialog):
        self.said.append(dialog.message)
        dialog.dismiss()

    @property
    def fetched(self):
        """What was asked for beside the page itself and its pictures."""
        return [u for u in self.asked[1:] if not u.startswith('data:')]

    def overflow(self):
        return self.page.evaluate(
            'document.documentElement.scrollWidth - window.innerWidth'
        )


@pytest.fixture
def opened(browser, report):
    found = Opened(browser, report)
    yield found
    found.page.close()
    assert found.said == []
    assert found.fetched == []


def test_a_click_opens_a_prototype(opened, toy_run):
    page = opened.page
    roots = page.locator('#tree > .node')
    assert roots.count() == 5
    state = torch.load(toy_run.checkpoint, weights_only=True)
    coarsest = state['ahpcl']['hierarchy']['levels'][-1]['assignments']
    sizes = sorted(torch.bincount(coarsest).tolist(), reverse=True)
    for place, size in enumerate(sizes):
        assert f'{size} image' in roots.nth(place).inner_text()
    root = roots.first
    root.locator(':scope > summary').click()
    root.locator(':scope > .body > .images > .image').first.wait_for()
    assert root.get_attribute('open') is not None
    child = root.locator(':scope > .body > .children > .node').first
    child.locator(':scope > summary').click()
    child.locator('.image .thumb').first.wait_for()
    # A second click closes.
    root.locator(':scope > summary').click()
    assert root.get_attribute('open') is None


def test_an_image_tells_its_path_and_distance(opened):
    page = opened.page
    page.locator('#tree > .node > summary').first.click()
    image = page.locator('#tree .image').first
    assert PATH in image.get_attribute('aria-label')
    assert 'distance 0.' in image.get_attribute('aria-label')
    image.click()
    detail = page.locator('#tree .detail').first
    assert PATH in detail.inner_text()
    assert f'class {HOSTILE}' in detail.inner_text()
    assert page.locator('img').count() == 0


def test_thumbnails_are_pictures(opened):
    page = opened.page
    thumb = page.locator('#tree .thumb').first
    style = thumb.evaluate('e => getComputedStyle(e).backgroundImage')
    assert style.startswith('url("data:image/png;base64,')
    width = page.evaluate(
        """async () => {
          const style = getComputedStyle(document.querySelector('.sheet0'));
          const image = new Image();
          image.src = style.backgroundImage.slice(5, -2);
          await image.decode();
          return image.naturalWidth;
        }"""
    )
    assert width == 160


def test_the_keyboard_suffices(opened):
    page = opened.page
    page.locator('#close-all').focus()
    page.keyboard.press('Tab')
    page.keyboard.press('Enter')
    root = page.locator('#tree > .node').first
    root.locator('.image').first.wait_for()
    assert root.get_attribute('open') is not None
    page.keyboard.press('Tab')  # the first image
    page.keyboard.press('Enter')
    assert PATH in root.locator(':scope > .body > .detail').inner_text()
    child = root.locator(':scope > .body > .children > .node').first
    for _ in range(60):
        page.keyboard.press('Tab')
        if child.evaluate(
            'e => e.firstElementChild === document.activeElement'
        ):
            break
    page.keyboard.press('Space')
    child.locator('.image').first.wait_for()
    assert child.get_attribute('open') is not None


def test_search_finds_clusters_and_classes(opened):
    page = opened.page
    query = page.locator('#query')
    results = page.locator('#results li')
    query.fill('7')
    assert results.count() == 1  # the coarse level has 5 only
    assert 'K = 10 #7' in results.first.inner_text()
    results.first.locator('button').click()
    node = page.locator('#node-0-7')
    assert node.get_attribute('open') is not None
    assert node.locator('.image').first.is_visible()
    assert (
        page.evaluate('document.activeElement.parentElement.id') == 'node-0-7'
    )
    query.fill('k=5 #4')
    assert [text.split('\n')[0] for text in results.all_inner_texts()] == [
        'K = 5 #4'
    ]
    query.fill('ALERT(1)')
    assert results.count() > 10
    assert HOSTILE in results.first.inner_text()
    query.fill('nothing like it')
    assert results.count() == 0
    assert page.locator('#found').inner_text() == 'Nothing found'


def test_a_number_is_a_class_or_a_cluster_of_that_number(browser, numbered):
    found = Opened(browser, numbered)
    page = found.page
    query, results = page.locator('#query'), page.locator('#results li')
    query.fill('3')  # clusters, and class 3, but no class such as n0003
    texts = results.all_inner_texts()
    assert [t.split('\n')[0] for t in texts[:2]] == ['K = 5 #3', 'K = 10 #3']
    assert all('class 3:' in text for text in texts[2:])
    assert len(texts) > 2
    query.fill('0003')  # neither: part of names, then
    texts = results.all_inner_texts()
    assert texts
    assert all('class n0003:' in text for text in texts)
    # Many findings leave the tree in sight.
    query.fill('n000')
    box = page.locator('#results').bounding_box()
    assert results.count() > 20
    assert box['height'] < 320
    assert found.said == []
    page.close()


def test_the_order_can_be_chosen(opened):
    page = opened.page
    page.locator('#order').select_option('number')
    ids = page.locator('#tree > .node').evaluate_all('e => e.map(n => n.id)')
    assert ids == [f'node-1-{cluster}' for cluster in range(5)]
    page.locator('#order').select_option('phi')
    phi = [
        float(text.split()[1])
        for text in page.locator(
            '#tree > .node > summary > .soft'
        ).all_inner_texts()
    ]
    assert phi == sorted(phi)


def test_the_gallery_leads_to_the_explorer(opened):
    page = opened.page
    fold = page.locator('.gallery').nth(1)
    fold.locator('summary').click()
    fold.locator('.row').first.wait_for()
    assert fold.locator('.row').count() == 10
    assert fold.locator('.row .thumb').first.is_visible()
    link = fold.locator('.row button').first
    name = link.inner_text()
    link.click()
    cluster = name.split('#')[1]
    node = page.locator(f'#node-0-{cluster}')
    assert node.get_attribute('open') is not None


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_a_narrow_screen_does_not_scroll_sideways(browser, report, scheme):
    found = Opened(
        browser,
        report,
        viewport={'width': 390, 'height': 800},
        color_scheme=scheme,
    )
    assert found.overflow() <= 0
    page = found.page
    page.locator('#tree > .node > summary').first.click()
    page.locator('#tree .image').first.click()
    # What a click tells is in sight, below however many rows of images.
    detail = page.locator('#tree .detail').first.bounding_box()
    assert detail['y'] >= 0
    assert detail['y'] + detail['height'] <= 800
    page.locator('.gallery > summary').first.click()
    page.locator('details.fold').evaluate_all(
        'all => all.forEach((e) => { e.open = true; })'
    )
    page.locator('.gallery').last.locator('.row').first.wait_for()
    page.locator('#query').fill('alert')
    assert found.overflow() <= 0
    back, front = page.evaluate(
        """() => {
          const style = getComputedStyle(document.body);
          const light = (text) => text.match(/\\d+/g).slice(0, 3)
            .reduce((sum, v) => sum + Number(v), 0) / 3;
          return [light(style.backgroundColor), light(style.color)];
        }"""
    )
    assert (back > 230 and front < 60) == (scheme == 'light')
    assert (back < 60 and front > 200) == (scheme == 'dark')
    assert found.said == []
    assert found.fetched == []
    page.close()


def test_no_script_but_ours_runs(browser, report, tmp_path):
    """Were a name not escaped, the page's policy would still stop it."""
    text = report.read_text('utf-8')
    bad = tmp_path / 'bad.html'
    bad.write_text(
        text.replace(
            '<main>',
            '<main><script>document.title = "taken"</script>'
            '<img src="https://example.com/x.png">',
        ),
        'utf-8',
    )
    found = Opened(browser, bad)
    assert found.page.title().endswith(': report')
    assert any('Content Security Policy' in line for line in found.said)
    assert found.page.locator('#tree > .node').count() == 5
    found.page.close()
