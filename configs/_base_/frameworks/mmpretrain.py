# What MMPretrain calls the parts that a run takes from its framework.
default_scope = 'mmpretrain'


def __crop(size, scale):
    return dict(
        type='RandomResizedCrop',
        scale=size,
        crop_ratio_range=scale,
        backend='pillow',
    )


data = dict(
    crop=__crop,
    blur=dict(
        type='GaussianBlur',
        magnitude_range=(0.1, 2.0),
        magnitude_std='inf',
        prob=0.5,
    ),
    pack=dict(type='PackViews'),
)
