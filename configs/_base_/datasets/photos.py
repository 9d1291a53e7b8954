# Photographs: MoCo v2's augmentation, and loaders for a machine with a GPU.
_base_ = 'images.py'


def __photo(size):
    """The transforms of a view of so many pixels."""
    colours = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    return [
        _base_.data.crop(size, (0.2, 1.0)),
        dict(
            type='RandomApply',
            transforms=[dict(type='SafeColorJitter', **colours)],
            prob=0.8,
        ),
        dict(
            type='RandomGrayscale',
            prob=0.2,
            keep_channels=True,
            channel_weights=(0.114, 0.587, 0.2989),
        ),
        _base_.data.blur,
        dict(type='RandomFlip', prob=0.5),
    ]


def __center(edge, size):
    """Brings an image of any size to one that a batch can hold."""
    return [
        dict(
            type='mmcls.ResizeEdge', scale=edge, edge='short', backend='pillow'
        ),
        dict(type='CenterCrop', crop_size=size),
    ]


def __stored(size):
    """Photographs in a decoded cache, as large as views of a size need.

    A crop of a fifth of the area is 0.39 of a side, and a photograph 1.5 times
    as long as high: up to 4 times the size of the view no crop is enlarged.
    """
    return dict(decoded_cache='auto', decoded_max_side=4 * size)


data = dict(photo=__photo, center=__center, stored=__stored)
train_dataloader = dict(batch_size=128, num_workers=8, pin_memory=True)
extract_dataloader = dict(
    batch_size=512, num_workers=4, persistent_workers=True
)
val_dataloader = dict(batch_size=512, num_workers=4)
test_dataloader = val_dataloader
test_evaluator = [
    dict(type='KNNMetric', k=20),
    dict(type='FewShotMetric', ways=5, shots=1),
    dict(type='FewShotMetric', ways=5, shots=5),
    dict(type='ClusterMetric'),
]
