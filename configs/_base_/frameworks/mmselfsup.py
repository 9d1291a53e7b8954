# What mmselfsup calls the parts that a run takes from its framework.
default_scope = 'mmselfsup'


def __crop(size, scale):
    return dict(
        type='RandomResizedCrop', size=size, scale=scale, backend='pillow'
    )


data = dict(
    crop=__crop,
    blur=dict(
        type='RandomGaussianBlur', sigma_min=0.1, sigma_max=2.0, prob=0.5
    ),
    pack=dict(type='PackSelfSupInputs'),
)
