# HCSC on mini-ImageNet with multi-crop: the two large views, and one small
# crop of each of four sizes, in the published proportions (192, 160, 128 and
# 96 of 224 px, which cover the image in proportion).
_base_ = 'hcsc_minin.py'
small_crops = [
    dict(size=72, scale=(0.171, 0.857)),
    dict(size=60, scale=(0.143, 0.714)),
    dict(size=48, scale=(0.114, 0.571)),
    dict(size=36, scale=(0.086, 0.429)),
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
