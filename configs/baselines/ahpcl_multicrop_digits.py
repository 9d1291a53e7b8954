# AHPCL on the digits with multi-crop: two large views and two small crops.
_base_ = '../ahpcl_digits.py'
small_pipeline = [
    dict(
        type='RandomResizedCrop', size=10, scale=(0.3, 0.6), backend='pillow'
    ),
    *_base_.view_pipeline[1:],
]
train_pipeline = [
    _base_.train_pipeline[0],
    dict(
        type='SeededMultiView',
        views=[_base_.view_pipeline, small_pipeline],
        num_views=[2, 2],
    ),
    _base_.train_pipeline[2],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
