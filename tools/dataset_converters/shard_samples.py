"""The images of tar shards, zip archives and Parquet files, with labels."""

import io
import json
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from archives import ARCHIVES, MAX_BYTES, read_archive
from PIL import Image

from ahpcl.datasets.folder import IMAGE_EXTENSIONS
from ahpcl.utils.file_kind import kind_of

SHARDS = (*ARCHIVES, '.parquet')
# Keys of a sample's .json, and columns of a Parquet file, that name a class.
_LABELS = ('label', 'cls', 'class', 'class_name')
_IMAGE_COLUMNS = ('image', 'img')
_BATCH = 64  # rows of a Parquet file that are in memory at once
# Images of one sample; more are pictures whose names have dots.
_MOST_IMAGES = 16
_ENDINGS = {'JPEG': '.jpg', 'MPO': '.jpg', 'JPEG2000': '.jp2', 'TIFF': '.tif'}


@dataclass(frozen=True)
class Sample:
    """An image of a shard.

    Attributes:
        name: Its path within the shard, with '/' between its parts.
        data: The image file.
        label: Name or number of its class; None where the shard says none.
    """

    name: str
    data: bytes
    label: str | int | None


Take = Callable[[Sample], None]


def read_shard(
    path: Path,
    take: Take,
    left_out: Counter[str],
    *,
    image_column: str | None = None,
    label_column: str | None = None,
) -> None:
    """Show every image of a shard to a function, in the order of the shard.

    A file with an image's ending, or without one but with an image's
    content, is one. In an archive, files that have the same name up to the
    first dot and follow each other belong together: ``7.cls`` or ``label``
    in ``7.json`` is the class of ``7.jpg``.

    Args:
        path: A tar or zip archive, or a Parquet file.
        take: Called with each image.
        left_out: Counts other files by ending; changed.
        image_column: Column of the images of a Parquet file, by default
            ``image`` or ``img``, or the only one that holds such.
        label_column: Column of their classes, by default ``label`` or the
            only one that is a class.

    Raises:
        ValueError: If the shard is damaged, unsafe or something else.
        ImportError: If it is a Parquet file and pyarrow is not installed.
    """
    kind = kind_of(path)
    if kind in ('an empty file', 'zeros'):
        raise ValueError(f'expected a shard of images, got {path}: {kind}')
    if path.name.lower().endswith('.parquet'):
        if kind != 'a Parquet file':
            raise ValueError(f'expected a Parquet file, got {path}: {kind}')
        _read_parquet(path, take, image_column, label_column)
        return
    grouped = _Grouped(path, take, left_out)
    read_archive(path, grouped.take)
    grouped.flush()


class _Grouped:
    """Puts the files of an archive together to samples."""

    def __init__(
        self, shard: Path, take: Take, left_out: Counter[str]
    ) -> None:
        self._shard, self._give, self._left_out = shard, take, left_out
        self._key: str | None = None
        self._images: list[tuple[str, bytes]] = []
        self._label: str | int | None = None
        self._given = 0  # images of this sample

    def take(self, name: str, read: Callable[[], bytes]) -> None:
        """Take a file of the archive."""
        path = PurePosixPath(name)
        if any(part.startswith('.') for part in path.parts if part != '.'):
            self._left_out['hidden'] += 1
            return
        if '__MACOSX' in path.parts:
            self._left_out['hidden'] += 1
            return
        base, _, rest = path.name.partition('.')
        key = f'{path.parent}/{base}'
        if key != self._key:
            self.flush()
            self._key, self._label, self._given = key, None, 0
        ending, rest = path.suffix.lower(), rest.lower()
        where = f'{name} of {self._shard}'
        if ending in IMAGE_EXTENSIONS:
            self._images.append((str(path), read()))
        elif rest == 'cls':
            self._set_label(_label_of(read(), where), where)
        elif rest == 'json':
            self._set_label(_label_in(read(), where), where)
        elif not ending:
            data = read()
            if image_format(data) is not None:
                self._images.append((str(path), data))
            else:
                self._left_out['without an ending'] += 1
        else:
            self._left_out[ending] += 1
        if len(self._images) >= _MOST_IMAGES:
            self.flush()

    def flush(self) -> None:
        """Give the images of the sample that wait for their label."""
        images, self._images = self._images, []
        self._given += len(images)
        for name, data in images:
            self._give(Sample(name, data, self._label))

    def _set_label(self, label: str | int | None, name: str) -> None:
        if label is None:
            return
        if self._given:
            raise ValueError(
                f'expected at most {_MOST_IMAGES} images of one class file, '
                f'got more before {name}'
            )
        self._label = label


def _label_of(data: bytes, name: str) -> str | int | None:
    try:
        text = data.decode('utf-8').strip()
    except UnicodeDecodeError as error:
        raise ValueError(
            f'expected the name or number of a class in {name}, got bytes '
            f'that are no text: {error}'
        ) from error
    return _number(text) if text else None


def _label_in(data: bytes, name: str) -> str | int | None:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(
            f'expected JSON in {name}, got something else: {error}'
        ) from error
    if not isinstance(content, dict):
        return None
    for key in _LABELS:
        value = content.get(key)
        if isinstance(value, str | int) and not isinstance(value, bool):
            return _number(value) if isinstance(value, str) else value
    return None


def _number(text: str) -> str | int:
    return int(text) if re.fullmatch(r'-?\d{1,9}', text) else text


def image_format(data: bytes) -> str | None:
    """Tell the format of an image by its first bytes; None for others."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data)) as image:
                return image.format
        except Image.DecompressionBombError:
            return 'large'  # nothing is decoded here
        except Exception:  # Pillow's readers raise many kinds
            return None


def ending_of(kind: str) -> str:
    """Return the usual ending of a format of Pillow."""
    return _ENDINGS.get(kind, f'.{kind.lower()}')


# ---- Parquet --------------------------------------------------------------


def _read_parquet(
    path: Path, take: Take, image_column: str | None, label_column: str | None
) -> None:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ImportError(
            f'expected pyarrow to read {path}, got none; install it with: '
            'pip install "ahpcl[export]"'
        ) from error
    place = -1
    try:
        with parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            images = _image_column(schema, image_column, path)
            labels = _label_column(schema, label_column, path)
            names = _class_names(schema, labels)
            columns = [images, *([labels] if labels else [])]
            for place, row in enumerate(_rows(file, columns)):
                name, data = _content(row[images], place, path)
                label = row[labels] if labels else None
                take(Sample(name, data, _class(label, names)))
    except (pyarrow.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk
        raise ValueError(
            f'expected a complete Parquet file, got {path}, which cannot be '
            f'read after row {place}: {error}'
        ) from error


def _rows(file: Any, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(batch_size=_BATCH, columns=columns):
        yield from batch.to_pylist()


def _is_image(kind: Any) -> bool:
    from pyarrow import types

    if types.is_struct(kind):
        return kind.get_field_index('bytes') >= 0
    return types.is_binary(kind) or types.is_large_binary(kind)


def _image_column(schema: Any, wanted: str | None, path: Path) -> str:
    held = [field.name for field in schema if _is_image(field.type)]
    chosen = [name for name in _IMAGE_COLUMNS if name in held] or held
    if wanted is not None:
        chosen = [wanted] if wanted in held else []
    if len(chosen) != 1 and not set(chosen) >= set(_IMAGE_COLUMNS):
        fields = ', '.join(f'{f.name} ({f.type})' for f in schema)
        raise ValueError(
            f'expected one column of images in {path} (bytes, or a struct '
            f'with bytes), got {fields or "no column"}; name it with '
            '--image-column'
        )
    return chosen[0]


def _label_column(schema: Any, wanted: str | None, path: Path) -> str | None:
    names = schema.names
    if wanted is not None:
        if wanted not in names:
            raise ValueError(
                f'expected --label-column to be one of {", ".join(names)} in '
                f'{path}, got {wanted!r}'
            )
        return wanted
    for name in _LABELS:
        if name in names:
            return name
    classes = [name for name in names if _class_names(schema, name)]
    if len(classes) > 1:
        raise ValueError(
            f'expected one column of classes in {path}, got '
            f'{", ".join(classes)}; choose with --label-column'
        )
    return classes[0] if classes else None


def _class_names(schema: Any, column: str | None) -> list[str]:
    """Return what the numbers of a column mean; empty where unknown.

    Hugging Face's ``datasets`` writes it into the schema.
    """
    text = (schema.metadata or {}).get(b'huggingface')
    try:
        feature = json.loads(text)['info']['features'][column]
        names = feature['names']
    except (TypeError, ValueError, KeyError):
        return []
    return [str(name) for name in names] if isinstance(names, list) else []


def _class(label: Any, names: list[str]) -> str | int | None:
    if label is None or isinstance(label, str):
        return label or None
    number = int(label)
    if number < 0:  # of test sets whose classes are secret
        return None
    return names[number] if number < len(names) else number


def _content(value: Any, place: int, path: Path) -> tuple[str, bytes]:
    """Return a name and the bytes of an image."""
    name = None
    if isinstance(value, dict):
        name, value = value.get('path'), value.get('bytes')
    if value is None:
        raise ValueError(
            f'expected the bytes of an image in row {place} of {path}, got '
            f'{"its path alone: " + repr(name) if name else "none"}'
        )
    if len(value) > MAX_BYTES:
        raise ValueError(
            f'expected images of at most {MAX_BYTES} bytes in {path}, got '
            f'{len(value)} in row {place}'
        )
    base = str(name or '').replace('\\', '/').rpartition('/')[2]
    return base or f'{place:08d}', value
