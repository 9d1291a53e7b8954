# AHPCL with small crops, which predict the keys of the two views (SwAV's; the
# published six of them cost as much as the views).
_base_ = 'ahpcl.py'
small_view = [
    dict(
        type='RandomResizedCrop',
        size=_base_.small_size,
        scale=_base_.small_scale,
        backend='pillow',
    ),
    *_base_.view_pipeline[1:],
]
views = dict(
    views=[_base_.view_pipeline, small_view],
    num_views=[2, _base_.small_crops],
)
if _base_.views_on_device:
    model = dict(data_preprocessor=views)
else:
    train_pipeline = [
        _base_.train_pipeline[0],
        dict(type='SeededMultiView', **views),
        _base_.train_pipeline[2],
    ]
    train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
