"""What is known of a folder before anything is decided."""

import pytest

from ahpcl.api.survey import LEAST_IMAGES, survey
from ahpcl.datasets.label_file import read_label_file
from odd_folders import ODD_FOLDERS


def fill(make_image, root, folders, count=10, size=(12, 9)):
    for folder in folders:
        for number in range(count):
            make_image(root / folder / f'{number:02d}.png', size=size)


def test_sizes_and_class_folders(tmp_path, make_image):
    fill(make_image, tmp_path, ['cats', 'dogs'])
    make_image(tmp_path / 'dogs' / 'large.png', size=(40, 30))
    found = survey(tmp_path)
    assert (found.count, found.classes, found.labelled) == (21, 2, 21)
    assert (found.short, found.long) == (9, 12)
    assert found.sizes == '9 to 40 px a side, mostly 9'
    assert found.endings == '21 .png'
    assert found.label_options == dict(labels_from_folders=True)
    assert survey(tmp_path, None).classes == 0


@pytest.mark.parametrize(
    'folders', [['train', 'test'], ['cats', ''], ['only']]
)
def test_folders_that_are_no_classes(tmp_path, make_image, folders):
    fill(make_image, tmp_path, folders, count=20)
    assert survey(tmp_path).labels is None


def test_a_table_gives_classes(tmp_path, make_image):
    fill(make_image, tmp_path, ['a', 'b/c'], count=10)
    rows = [f'a/{n:02d}.png;left' for n in range(10)]
    rows += [f'b/c/{n:02d}.png;right' for n in range(9)]
    table = tmp_path / 'classes.csv'
    table.write_text('\n'.join(['path;class', *rows]), 'utf-8-sig')
    # Folders come first, unless somebody says otherwise.
    assert survey(tmp_path).labels == 'folders'
    found = survey(tmp_path, str(table))
    assert (found.classes, found.labelled) == (2, 19)
    make_image(tmp_path / 'loose.png')
    found = survey(tmp_path)
    assert (found.labels, found.labelled) == (str(table), 19)


def test_a_table_of_something_else_is_no_label(tmp_path, make_image):
    fill(make_image, tmp_path, [''], count=20)
    (tmp_path / 'prices.csv').write_text('item,price\nbread,3\n')
    assert survey(tmp_path).labels is None
    with pytest.raises(ValueError, match='filename,label, got'):
        survey(tmp_path, str(tmp_path / 'prices.csv'))


@pytest.mark.parametrize('count', [0, 1, LEAST_IMAGES - 1])
def test_too_few_images(tmp_path, make_image, count):
    (tmp_path / 'notes.txt').write_text('no image')
    fill(make_image, tmp_path, [''], count=count)
    what = 'got none' if count == 0 else f'got {count} image'
    with pytest.raises(ValueError, match=what):
        survey(tmp_path)


def test_one_class_is_none(tmp_path, make_image):
    fill(make_image, tmp_path, ['only'], count=20)
    with pytest.raises(ValueError, match="labels='folders'") as error:
        survey(tmp_path, 'folders')
    assert 'labels=None' in str(error.value)  # which works
    assert survey(tmp_path, None).classes == 0


def test_names_in_a_table(tmp_path):
    table = tmp_path / 't.csv'
    table.write_text('label,filename\nx,sub\\a.jpg\ny,b.jpg\n,c.jpg\n')
    names = ['sub/a.jpg', 'deep/b.jpg', 'c.jpg']
    assert read_label_file(table, names) == ['x', 'y', None]
    # A file name of two images names neither.
    twice = ['sub/a.jpg', 'd/b.jpg', 'e/b.jpg']
    assert read_label_file(table, twice) == ['x', None, None]
    table.write_text('filename,label\na.jpg,x\na.jpg,y\n')
    with pytest.raises(ValueError, match=r"'x' and 'y' for 'a\.jpg'"):
        read_label_file(table, ['a.jpg'])
    table.write_text('filename,label\nz.jpg,x\n')
    with pytest.raises(ValueError, match=r"'a\.jpg'.*'z\.jpg'"):
        read_label_file(table, ['a.jpg'])


def test_files_that_only_look_like_images(tmp_path):
    for number in range(20):
        (tmp_path / f'{number}.jpg').write_text('no image')
    with pytest.raises(ValueError, match='got none of 20 that were tried'):
        survey(tmp_path)


def test_lists_of_classes_are_found(tmp_path):
    """What the doctor finds, and not what it does not."""
    ODD_FOLDERS['tiny_val'](tmp_path / 'val', count=18)
    found = survey(tmp_path / 'val')
    assert (found.classes, found.labelled) == (3, 18)
    assert found.label_options == dict(labels_from_folders=True)
    ODD_FOLDERS['parts'](tmp_path / 'parts', count=3)
    assert survey(tmp_path / 'parts').labels is None
    several = survey([tmp_path / 'val', tmp_path / 'parts'])
    assert (several.count, several.labels) == (36, None)
