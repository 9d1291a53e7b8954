# SeLa on the digits: 50 labels.
_base_ = ['../ahpcl_digits.py', '../_base_/methods/sela.py']
model = dict(
    _base_.method,
    _delete_=True,
    backbone=_base_.model.backbone,
    data_preprocessor=_base_.model.data_preprocessor,
    # Layers with batch norm before the classifier: the features of a thin
    # encoder start almost parallel.
    neck=_base_.model.neck,
    head=dict(_base_.method.head, in_channels=128, num_classes=50),
)
custom_hooks = [
    dict(_base_.label_hook, extract_dataloader=_base_.extract_dataloader)
]
train_pipeline = [
    _base_.train_pipeline[0],
    dict(_base_.train_pipeline[1], num_views=[1]),
    _base_.train_pipeline[2],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
