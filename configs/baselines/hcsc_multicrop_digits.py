# HCSC on the digits with multi-crop: the two large views, and one small
# crop of each of four sizes, in the published proportions (192, 160, 128 and
# 96 of 224 px, which cover the image in proportion).
_base_ = 'hcsc_digits.py'
small_crops = [
    dict(size=14, scale=(0.525, 0.875)),
    dict(size=11, scale=(0.412, 0.688)),
    dict(size=9, scale=(0.337, 0.562)),
    dict(size=7, scale=(0.263, 0.438)),
]
train_pipeline = [
    _base_.train_pipeline[0],
    dict(
        type='SeededMultiView',
        views=[
            _base_.view_pipeline,
            *[
                [
                    dict(type='RandomResizedCrop', **crop, backend='pillow'),
                    *_base_.view_pipeline[1:],
                ]
                for crop in small_crops
            ],
        ],
        num_views=[2, 1, 1, 1, 1],
    ),
    _base_.train_pipeline[2],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
