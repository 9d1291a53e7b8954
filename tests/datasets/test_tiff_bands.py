"""TIFF of many bands against an independent writer, and OpenCV's."""

import cv2
import numpy as np
import pytest
from PIL import Image

from ahpcl.datasets.tiff_bands import read_page, tiff_pages
from odd_folders import write_tiff

RNG = np.random.default_rng(0)


def read(path):
    with path.open('rb') as file:
        (page,) = tiff_pages(file)
        return read_page(file, page)


def noise(shape, dtype):
    top = np.iinfo(dtype).max if np.dtype(dtype).kind in 'ui' else 1e4
    return (RNG.random(shape) * top).astype(dtype)


@pytest.mark.parametrize('bands', [2, 4, 6])
@pytest.mark.parametrize('dtype', ['uint8', 'int16', 'uint16', 'float32'])
def test_layouts_of_every_type(tmp_path, bands, dtype):
    values = noise((21, 35, bands), dtype)
    for options in (
        {},
        {'planar': True},
        {'deflate': True, 'big_endian': True},
        {'tile': 16},
        {'tile': 16, 'planar': True, 'deflate': True, 'big_endian': True},
    ):
        write_tiff(tmp_path / 'a.tif', values, **options)
        found = read(tmp_path / 'a.tif')
        assert found.dtype == values.dtype
        np.testing.assert_array_equal(found, values, err_msg=str(options))


@pytest.mark.parametrize('compression', [1, 5, 8, 32773])
@pytest.mark.parametrize('kind', ['uint16', 'float32'])
@pytest.mark.parametrize('predictor', [1, 2, 3])
def test_what_opencv_writes(tmp_path, compression, kind, predictor):
    if predictor == (2 if kind == 'float32' else 3):
        pytest.skip('a predictor for the other kind')
    values = noise((40, 31, 3), kind)
    cv2.imwrite(
        str(tmp_path / 'a.tif'),
        values[:, :, ::-1],
        [
            cv2.IMWRITE_TIFF_COMPRESSION,
            compression,
            cv2.IMWRITE_TIFF_PREDICTOR,
            predictor,
        ],
    )
    np.testing.assert_array_equal(read(tmp_path / 'a.tif'), values)


def test_a_cut_file_is_refused(tmp_path):
    write_tiff(tmp_path / 'a.tif', noise((30, 30, 5), 'uint8'), tile=16)
    content = (tmp_path / 'a.tif').read_bytes()
    with (tmp_path / 'a.tif').open('rb') as file:
        (page,) = tiff_pages(file)
    (tmp_path / 'a.tif').write_bytes(content[:1000])
    with (
        (tmp_path / 'a.tif').open('rb') as file,
        pytest.raises(ValueError, match='truncated'),
    ):
        read_page(file, page)


def test_the_limit_of_pillow_holds(tmp_path, monkeypatch):
    write_tiff(tmp_path / 'a.tif', noise((30, 30, 5), 'uint8'))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 400)
    with pytest.raises(Image.DecompressionBombError):
        read(tmp_path / 'a.tif')
