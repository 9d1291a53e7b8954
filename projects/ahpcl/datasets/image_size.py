"""One number for the size of the images in all pipelines of a config."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

#: The variable of a config.
KEY = 'image_size'
# Transforms after which an image has a size, and the setting that says so.
_SIZED = dict(
    RandomResizedCrop='size',
    RandomCrop='crop_size',
    CenterCrop='crop_size',
    Resize='scale',
)
# What brings an edge to a size before a crop.
_EDGE = 'ResizeEdge'
# What gives a size without one setting for it.
_OTHERS = ('Pad',)


@dataclass(frozen=True)
class _Place:
    """A setting that is a size, in px."""

    path: str
    node: Any
    key: str

    @property
    def pixels(self) -> int | None:
        """Width and height; None if they differ."""
        value = self.node[self.key]
        if isinstance(value, list | tuple):
            return value[0] if len({*value}) == 1 else None
        return value

    def change(self, pixels: int) -> None:
        """Set width and height alike."""
        value = self.node[self.key]
        pair = isinstance(value, list | tuple)
        self.node[self.key] = type(value)([pixels] * 2) if pair else pixels


def gives_size(transform: Mapping[str, Any]) -> bool:
    """Whether a transform fits an image to a size, and does no more.

    Args:
        transform: Config of the transform.

    Examples:
        >>> gives_size(dict(type='mmcls.CenterCrop', crop_size=84))
        True
        >>> gives_size(dict(type='ChannelMix'))
        False
    """
    return _kind(transform) in (*_SIZED, _EDGE, *_OTHERS)


def pipeline_sizes(config: Mapping[str, Any]) -> dict[str, int]:
    """Width and height that every pipeline of a config gives an image, px.

    Of several crops in a view the first views count; those smaller than they
    (multi-crop) have a size of their own.

    Args:
        config: A config, or its dict.

    Returns:
        Dotted key of the setting -> px. Where width and height differ, or no
        setting says a size (images that all have one), there is none.
    """
    return {
        place.path: place.pixels
        for place in _places(_content(config))
        if place.pixels is not None
    }


def set_image_size(config: Any, pixels: int) -> list[str]:
    """Change the size of the images in all pipelines of a config.

    Crops for training, for the E-step and for the evaluation get it, edges
    before a crop and photographs in a decoded cache change in proportion, and
    images of the E-step and the evaluation that came in their own size so far
    are resized to it. Small crops beside larger ones stay.

    Args:
        config: A config or its dict, changed in place.
        pixels: Width and height.

    Returns:
        Dotted keys of what was changed.

    Raises:
        ValueError: If ``pixels`` is no positive number.

    Examples:
        >>> crop = dict(type='CenterCrop', crop_size=84)
        >>> edge = dict(type='ResizeEdge', scale=96)
        >>> config = dict(test_dataloader=dict(pipeline=[edge, crop]))
        >>> len(set_image_size(config, 42))
        2
        >>> edge['scale'], crop['crop_size']
        (48, 42)
    """
    if not isinstance(pixels, int) or isinstance(pixels, bool) or pixels < 1:
        raise ValueError(
            f'expected {KEY} as a positive number of pixels, got {pixels!r}'
        )
    content = _content(config)
    changed = []
    before = {place.path: place.pixels or pixels for place in _places(content)}
    for edge, crop in _edges(content):
        new = round(edge.pixels * pixels / before[crop.path])
        if new != edge.pixels:
            edge.change(new)
            changed.append(edge.path)
    for place in _places(content):
        if place.pixels != pixels:
            place.change(pixels)
            changed.insert(0, place.path)
    if changed or content.get(KEY, pixels) != pixels:
        changed += _resize_others(content, pixels)
    for path, data in _data_sets(content, ''):
        stored, size = data.get('decoded_max_side'), content.get(KEY)
        if stored and size and size != pixels:
            data['decoded_max_side'] = round(stored * pixels / size)
            changed.append(f'{path}.decoded_max_side')
    content[KEY] = pixels
    return changed


def check_image_size(config: Mapping[str, Any]) -> None:
    """Refuse pipelines that disagree about the size.

    Args:
        config: A config, or its dict. One without ``image_size``, or with
            None, may have what it likes.

    Raises:
        ValueError: Otherwise, if a pipeline gives images of another size;
            names the settings.
    """
    asked = _content(config).get(KEY)
    if asked is None:
        return
    sizes = pipeline_sizes(config)
    wrong = {path: size for path, size in sizes.items() if size != asked}
    if not wrong:
        return
    found = ', '.join(f'{path}={size}' for path, size in wrong.items())
    # All alike: the variable was changed alone, and means what it says.
    wanted = asked if len(wrong) == len(sizes) else next(iter(wrong.values()))
    raise ValueError(
        f'expected images of {KEY}={asked} in all pipelines, got {found}: '
        'training, E-step and evaluation would see images of another size; '
        f'change all of them by --cfg-options {KEY}={wanted}, in Python by '
        f'ahpcl.datasets.set_image_size(cfg, {wanted}), or have them differ '
        f'on purpose by --cfg-options {KEY}=None'
    )


def _content(config: Any) -> Any:
    return getattr(config, '_cfg_dict', config)


def _places(content: Any) -> list[_Place]:
    """The settings that fix sizes, each once."""
    found = []
    seen: set[tuple[int, str]] = set()
    for path, pipeline in _pipelines(content, ''):
        found += list(_sized(path, pipeline))
    found += list(_rendered(content, ''))
    return [
        place
        for place in found
        if (id(place.node), place.key) not in seen
        and not seen.add((id(place.node), place.key))  # type: ignore[func-returns-value]
    ]


def _pipelines(node: Any, path: str) -> Iterator[tuple[str, list]]:
    """Lists of transforms: those of data sets, and of views."""
    for name, child in _children(node):
        place = f'{path}.{name}' if path else str(name)
        if name == 'pipeline' and isinstance(child, list | tuple):
            yield place, child
        elif name == 'data_preprocessor' and 'views' in (child or {}):
            yield place, [child]
        else:
            yield from _pipelines(child, place)


def _sized(path: str, pipeline: Any) -> Iterator[_Place]:
    for number, transform in enumerate(pipeline):
        inside = f'{path}.{number}'
        if 'data_preprocessor' in path.rpartition('.')[2]:
            inside = path
        if 'views' in transform:
            views = [
                list(_sized(f'{inside}.views.{n}', view))
                for n, view in enumerate(transform['views'])
            ]
            large = {place.pixels for place in views[0]} if views else set()
            for view in views:
                yield from (p for p in view if p.pixels in large)
        key = _SIZED.get(_kind(transform))
        if key == 'size' and key not in transform:
            key = 'scale'  # MMPretrain's RandomResizedCrop
        if key is not None and key in transform:
            yield _Place(f'{inside}.{key}', transform, key)


def _rendered(node: Any, path: str) -> Iterator[_Place]:
    """Data sets that make their images at a size."""
    if isinstance(node, Mapping) and {'type', 'img_size', 'pipeline'} <= {
        *node
    }:
        yield _Place(f'{path}.img_size', node, 'img_size')
    for name, child in _children(node):
        yield from _rendered(child, f'{path}.{name}' if path else str(name))


def _edges(content: Any) -> Iterator[tuple[_Place, _Place]]:
    """Edges, each with the crop after it."""
    seen: set[int] = set()
    for path, pipeline in _pipelines(content, ''):
        crops = list(_sized(path, pipeline))
        for number, transform in enumerate(pipeline):
            fits = _kind(transform) == _EDGE and crops
            if fits and id(transform) not in seen:
                seen.add(id(transform))
                place = f'{path}.{number}.scale'
                yield _Place(place, transform, 'scale'), crops[-1]


def _resize_others(content: Any, pixels: int) -> list[str]:
    """Resize the images that no setting brings to a size, but to train on."""
    changed = []
    sized = {id(place.node) for place in _rendered(content, '')}
    for path, data in _data_sets(content, ''):
        pipeline = data['pipeline']
        if path.startswith('train_dataloader') or id(data) in sized:
            continue
        if list(_sized(path, pipeline)) or not pipeline:
            continue
        resize = dict(type='Resize', scale=(pixels, pixels), backend='pillow')
        data['pipeline'] = [pipeline[0], resize, *pipeline[1:]]
        changed.append(f'{path}.pipeline')
    return changed


def _data_sets(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping) and 'pipeline' in node and 'type' in node:
        yield path, node
    for name, child in _children(node):
        yield from _data_sets(child, f'{path}.{name}' if path else str(name))


def _children(node: Any) -> list[tuple[Any, Any]]:
    if isinstance(node, Mapping):
        return list(node.items())
    if isinstance(node, list | tuple):
        return list(enumerate(node))
    return []


def _kind(transform: Any) -> str:
    kind = transform.get('type', '') if isinstance(transform, Mapping) else ''
    name = kind if isinstance(kind, str) else kind.__name__
    return name.rpartition('.')[2]
