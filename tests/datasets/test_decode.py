import numpy as np
import pytest
from PIL import Image

from ahpcl.datasets import LoadImageBGR, read_rgb, to_rgb

RNG = np.random.default_rng(0)


def load(path, **options):
    return LoadImageBGR(**options)({'img_path': str(path)})


def test_bgr_and_shapes(tmp_path, make_image):
    pixels = make_image(tmp_path / 'a.png', size=(8, 6))
    out = load(tmp_path / 'a.png')
    np.testing.assert_array_equal(out['img'], pixels[..., ::-1])
    assert out['img'].dtype == np.uint8
    assert out['img'].flags.c_contiguous
    assert out['img_shape'] == out['ori_shape'] == (6, 8)


def test_grayscale(tmp_path):
    gray = RNG.integers(0, 256, (4, 5), dtype=np.uint8)
    Image.fromarray(gray).save(tmp_path / 'g.png')
    img = load(tmp_path / 'g.png')['img']
    for channel in range(3):
        np.testing.assert_array_equal(img[..., channel], gray)


def test_one_bit(tmp_path):
    bits = np.array([[0, 1], [1, 0]], dtype=bool)
    Image.fromarray(bits).save(tmp_path / 'b.png')
    np.testing.assert_array_equal(
        read_rgb(tmp_path / 'b.png')[..., 1], [[0, 255], [255, 0]]
    )


def test_palette(tmp_path):
    image = Image.new('P', (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60] + [0] * 750)
    image.putdata([0, 1])
    image.save(tmp_path / 'p.png')
    assert Image.open(tmp_path / 'p.png').mode == 'P'
    np.testing.assert_array_equal(
        read_rgb(tmp_path / 'p.png'), [[[10, 20, 30], [40, 50, 60]]]
    )


@pytest.mark.parametrize('kind', ['one colour', 'many'])
def test_palette_with_transparency(tmp_path, kind):
    image = Image.new('P', (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 0, 0, 200] + [0] * 747)
    image.putdata([0, 1, 2])
    transparency = 0 if kind == 'one colour' else bytes([0, 255, 102])
    image.save(tmp_path / 'p.png', transparency=transparency)
    row = read_rgb(tmp_path / 'p.png', background=(255, 0, 0))[0]
    np.testing.assert_array_equal(row[0], [255, 0, 0])
    np.testing.assert_array_equal(row[1], [40, 50, 60])
    if kind == 'many':  # 102 / 255 = 0.4 of blue over 0.6 of red
        np.testing.assert_allclose(row[2], [153, 0, 80], atol=1)


def test_alpha_is_laid_over_white(tmp_path):
    rgba = np.array([[[9, 8, 7, 0], [9, 8, 7, 255], [0, 0, 0, 51]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / 'a.png')
    row = read_rgb(tmp_path / 'a.png')[0]
    np.testing.assert_array_equal(row[:2], [[255] * 3, [9, 8, 7]])
    np.testing.assert_allclose(row[2], [204] * 3, atol=1)


def test_gray_with_alpha(tmp_path):
    la = np.array([[[100, 0], [100, 255]]], np.uint8)
    Image.fromarray(la, mode='LA').save(tmp_path / 'la.png')
    row = load(tmp_path / 'la.png', background=(1, 2, 3))['img'][0]
    np.testing.assert_array_equal(row, [[3, 2, 1], [100] * 3])


def test_rgb_with_a_transparent_colour(tmp_path):
    image = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    image.save(tmp_path / 't.png', transparency=(1, 2, 3))
    np.testing.assert_array_equal(
        read_rgb(tmp_path / 't.png'), [[[255] * 3, [4, 5, 6]]]
    )


def test_cmyk(tmp_path):
    cmyk = np.zeros((8, 8, 4), np.uint8)
    cmyk[..., 1] = 255  # full magenta
    image = Image.fromarray(cmyk, mode='CMYK')
    image.save(tmp_path / 'c.jpg', quality=95)
    assert Image.open(tmp_path / 'c.jpg').mode == 'CMYK'
    img = read_rgb(tmp_path / 'c.jpg').reshape(-1, 3).mean(0)
    np.testing.assert_allclose(img, [255, 0, 255], atol=3)


def test_16_bit_is_scaled_not_clipped(tmp_path):
    wide = np.array([[0, 128, 129, 257, 25700, 65535]], np.uint16)
    Image.fromarray(wide).save(tmp_path / 'w.png')
    assert Image.open(tmp_path / 'w.png').mode.startswith('I')
    expected = np.rint(wide / 257).astype(np.uint8)
    assert expected.tolist() == [[0, 0, 1, 1, 100, 255]]
    for channel in range(3):
        np.testing.assert_array_equal(
            read_rgb(tmp_path / 'w.png')[..., channel], expected
        )


def test_16_bit_big_endian_tiff(tmp_path):
    wide = np.array([[0, 25700, 65535]], '>u2')
    image = Image.frombytes('I;16B', (3, 1), wide.tobytes())
    image.save(tmp_path / 'w.tif')
    np.testing.assert_array_equal(
        read_rgb(tmp_path / 'w.tif')[0, :, 0], [0, 100, 255]
    )


def test_32_bit_and_float():
    ints = Image.fromarray(np.array([[0, 65535, 25700]], np.int32))
    np.testing.assert_array_equal(to_rgb(ints)[0, :, 0], [0, 255, 100])
    floats = Image.fromarray(np.array([[0, 0.5, 1]], np.float32))
    np.testing.assert_array_equal(to_rgb(floats)[0, :, 0], [0, 128, 255])


@pytest.mark.parametrize(
    'pixels',
    [
        np.array([[0, 70000]], np.int32),
        np.array([[-1, 3]], np.int32),
        np.array([[0.0, 1.5]], np.float32),
        np.array([[0.0, np.nan]], np.float32),
    ],
)
def test_values_that_fit_nothing_are_refused(pixels):
    with pytest.raises(ValueError, match=r'expected .* pixels'):
        to_rgb(Image.fromarray(pixels))


def test_exif_orientation(tmp_path):
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = [255, 0, 0]  # red to the left
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / 'e.png', exif=exif)
    np.testing.assert_array_equal(
        read_rgb(tmp_path / 'e.png'), np.rot90(pixels, -1)
    )


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new('RGB', (4, 4), c) for c in ('red', 'blue')]
    frames[0].save(tmp_path / 'a.gif', save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(
        read_rgb(tmp_path / 'a.gif')[0, 0], [255, 0, 0]
    )


def test_truncated_names_the_path(tmp_path, make_image):
    path = tmp_path / 'cut.jpg'
    make_image(path, size=(64, 64))
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(ValueError, match=r'cut\.jpg: .*truncated'):
        load(path)


@pytest.mark.parametrize(
    ('content', 'reason'),
    [(None, 'no such file'), (b'', 'zero bytes'), (b'hi', 'not an image')],
)
def test_other_broken_files(tmp_path, content, reason):
    path = tmp_path / 'x.png'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=rf'x\.png: {reason}'):
        load(path)


def test_image_in_memory_is_taken_as_it_is():
    image = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    out = LoadImageBGR()({'img': image, 'img_path': 'nowhere'})
    assert out['img'] is image
    assert out['img_shape'] == (4, 5)
    with pytest.raises(ValueError, match=r'uint8 .*got float64'):
        LoadImageBGR()({'img': image / 255.0})


def test_bad_background():
    with pytest.raises(ValueError, match='background'):
        LoadImageBGR(background=(0, 0, 256))
