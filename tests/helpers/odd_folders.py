"""Folders that nobody cleaned: one for every kind of odd images.

``ODD_FOLDERS[kind](root)`` writes a small one below ``root``. TIFF files of
several bands are written here byte by byte, so that a test of a reader does
not depend on a library that shares its mistakes.
"""

import os
import shutil
import struct
import zlib

import cv2
import numpy as np
from PIL import Image


def scene(seed=0, size=(24, 20), bands=3, low=0, high=255):
    """A picture with structure, float64 (H, W, bands), of low to high."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[1], : size[0]] / max(size)
    waves = [
        np.sin(2 * np.pi * (a * rows + b * columns) + c)
        for a, b, c in rng.uniform(0, 3, (bands, 3))
    ]
    picture = np.stack(waves, axis=2)
    picture += rng.normal(0, 0.1, picture.shape)
    picture = (picture - picture.min()) / np.ptp(picture)
    return low + picture * (high - low)


def write_tiff(path, values, *, extra=None, planar=False, deflate=False,
               tile=None, big_endian=False):  # fmt: skip
    """Write a TIFF of one page, (H, W, C), of any type and bands.

    ``extra`` is the tag ExtraSamples: 2 is an alpha channel, 0 says nothing.
    """
    order = '>' if big_endian else '<'
    height, width, bands = values.shape
    kind = {'u': 1, 'i': 2, 'f': 3}[values.dtype.kind]
    stored = values.astype(values.dtype.newbyteorder(order))
    planes = [stored[:, :, [b]] for b in range(bands)] if planar else [stored]
    pieces = []
    for plane in planes:
        if tile is None:
            pieces.append(plane)
            continue
        for top in range(0, height, tile):
            for left in range(0, width, tile):
                piece = np.zeros((tile, tile, plane.shape[2]), stored.dtype)
                part = plane[top : top + tile, left : left + tile]
                piece[: part.shape[0], : part.shape[1]] = part
                pieces.append(piece)
    data = [piece.tobytes() for piece in pieces]
    if deflate:
        data = [zlib.compress(piece) for piece in data]
    out = bytearray(b'MM\0*' if big_endian else b'II*\0') + bytes(4)
    offsets = []
    for piece in data:
        offsets.append(len(out))
        out += piece + bytes(len(piece) % 2)
    sizes = [len(piece) for piece in data]
    tags = {
        256: ('I', [width]),
        257: ('I', [height]),
        258: ('H', [values.dtype.itemsize * 8] * bands),
        259: ('H', [8 if deflate else 1]),
        262: ('H', [2 if bands in (3, 4) else 1]),
        277: ('H', [bands]),
        284: ('H', [2 if planar else 1]),
        339: ('H', [kind] * bands),
    }
    if tile is None:
        tags |= {273: ('I', offsets), 278: ('I', [height]), 279: ('I', sizes)}
    else:
        tags |= {322: ('I', [tile]), 323: ('I', [tile])}
        tags |= {324: ('I', offsets), 325: ('I', sizes)}
    if extra is not None:
        tags[338] = ('H', list(extra))
    entries = b''
    for tag, (code, numbers) in sorted(tags.items()):
        raw = struct.pack(f'{order}{len(numbers)}{code}', *numbers)
        if len(raw) > 4:
            place = len(out)
            out += raw + bytes(len(raw) % 2)
            raw = struct.pack(f'{order}I', place)
        entries += struct.pack(
            f'{order}HHI', tag, 3 if code == 'H' else 4, len(numbers)
        ) + raw.ljust(4, b'\0')
    out[4:8] = struct.pack(f'{order}I', len(out))
    out += struct.pack(f'{order}H', len(tags)) + entries + bytes(4)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(out)


def save(path, values, **options):
    """Save 8-bit pixels by Pillow."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.rint(values).astype(np.uint8)
    if pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    Image.fromarray(pixels).save(path, **options)


def endings(root, count=2):
    """Images whose names say nothing, and files that are none."""
    for i in range(count):
        for ending in ('.jfif', '.jpg_large', '', '.0001'):
            save(root / f'{i}{ending}', scene(i), format='JPEG')
        save(root / f'{i}.TGA', scene(i))
        save(root / f'{i}.jp2', scene(i))
        save(root / f'{i}.avif', scene(i))
        save(root / f'{i}.pgm', scene(i, bands=1))
    (root / 'readme').write_text('no image')
    (root / 'table.csv').write_text('a,b\n')
    (root / '.DS_Store').write_bytes(b'\0\0\0\1Bud1')


def twelve_bits(root, count=8, high=1700):
    """Microscopy: 12 bits in 16, dark, with a hot pixel."""
    for i in range(count):
        values = scene(i, (64, 48), bands=1, low=130, high=high)
        values = values.astype(np.uint16)
        values[3, 4] = 65535
        path = root / f'well_{i:02d}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values[:, :, 0]).save(path)


def deep_colour(root, count=6):
    """Colour of 16 bits, as a scanner writes it."""
    root.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        values = scene(i, low=2000, high=9000).astype(np.uint16)
        cv2.imwrite(str(root / f'scan{i}.png'), values[:, :, ::-1])


def heights(root, count=6):
    """Heights in metres as floats, with holes."""
    for i in range(count):
        values = scene(i, bands=1, low=-12, high=850).astype(np.float32)
        values[:2, :2] = np.nan
        path = root / f'{i}.tif'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values[:, :, 0]).save(path)


def two_cameras(root, count=4):
    """Colour photographs, and gray ones of more bits and another size."""
    for i in range(count):
        save(root / 'left' / f'{i}.jpg', scene(i, size=(40, 30)))
    twelve_bits(root / 'right', count, high=4000)


def four_bands(root, count=4):
    """Red, green, blue and infrared, about which the file says nothing."""
    for i in range(count):
        values = scene(i, bands=4).astype(np.uint8)
        write_tiff(root / f'{i}.tif', values, extra=None if i % 2 else [0])


def seven_bands(root, count=6):
    """A satellite's bands: 16 bits, one of them in other units."""
    for i in range(count):
        values = scene(i, bands=7, low=200, high=3500)
        values[:, :, 6] /= 100
        write_tiff(
            root / f'tile{i}.tiff',
            values.astype(np.uint16),
            planar=i % 2 == 0,
            deflate=i % 3 == 0,
        )


def arrays(root, count=5):
    """Arrays of NumPy with six bands."""
    root.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        values = scene(i, bands=6, low=-1, high=1).astype(np.float32)
        np.save(root / f'{i}.npy', values)


def transparent(root, count=3):
    """Cut-outs: an alpha channel in several formats."""
    for i in range(count):
        rgba = scene(i, bands=4)
        save(root / f'{i}.png', rgba)
        save(root / f'{i}.webp', rgba, lossless=True)
        write_tiff(root / f'{i}.tif', rgba.astype(np.uint8), extra=[2])


def pages(root, count=3):
    """Stacks: pages of a TIFF are the channels of one image."""
    root.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        stack = np.rint(scene(i, bands=5)).astype(np.uint8)
        first, *others = [
            Image.fromarray(np.ascontiguousarray(stack[:, :, b]))
            for b in range(5)
        ]
        first.save(root / f'{i}.tif', save_all=True, append_images=others)


def turned(root, count=4):
    """Photographs that EXIF says to turn."""
    for i in range(count):
        exif = Image.Exif()
        exif[0x0112] = (1, 3, 6, 8)[i % 4]
        ending = ('jpg', 'png', 'webp', 'tif')[i % 4]
        save(root / f'{i}.{ending}', scene(i, size=(32, 20)), exif=exif)


def copies(root, count=3):
    """The same content under several names, also by links."""
    for i in range(count):
        save(root / f'{i}.png', scene(i))
    shutil.copy(root / '0.png', root / 'again.png')
    (root / 'linked').mkdir()
    os.symlink(root / '1.png', root / 'linked' / 'one.png')


def broken(root, count=3):
    """Good images, and of every kind one that is none."""
    for i in range(count):
        save(root / f'{i}.jpg', scene(i, size=(64, 64)))
    whole = (root / '0.jpg').read_bytes()
    (root / 'cut.jpg').write_bytes(whole[: len(whole) // 2])
    (root / 'empty.png').touch()
    (root / 'page.webp').write_text('<html>not found</html>')
    write_tiff(root / 'cut.tif', scene(0, bands=5).astype(np.uint8))
    content = (root / 'cut.tif').read_bytes()
    (root / 'cut.tif').write_bytes(content[:4] + content[4:8] + content[8:90])


def tiny_val(root, count=6):
    """Tiny ImageNet's val: one folder of images, and a list."""
    lines = []
    for i in range(count):
        save(root / 'images' / f'val_{i}.JPEG', scene(i))
        lines.append(f'val_{i}.JPEG\tn0{i % 3}\t0\t0\t20\t20')
    (root / 'val_annotations.txt').write_text('\n'.join(lines) + '\n')


def parts(root, count=2):
    """A data set's parts, each with class folders."""
    for part in ('train', 'val'):
        for kind in ('ash', 'elm', 'fir'):
            for i in range(count):
                save(root / part / kind / f'{i}.png', scene(i))


ODD_FOLDERS = {
    writer.__name__: writer
    for writer in (
        *(endings, twelve_bits, deep_colour, heights, two_cameras),
        *(four_bands, seven_bands, arrays, transparent, pages, turned),
        *(copies, broken, tiny_val, parts),
    )
}
