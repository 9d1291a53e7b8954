# As linear_digits.py, on mini-ImageNet with a ResNet-18 at 84 px: of the 20
# classes of test.csv the first 500 images of each to learn from, the last 100
# to test.
_base_ = 'linear_tin100_cpu.py'
model = dict(
    backbone=dict(_delete_=True, type='ResNet', depth=18, frozen_stages=4),
    head=dict(in_channels=512),
)
data_root = 'data/mini-imagenet/'
train_pipeline = [
    _base_.train_pipeline[0],
    dict(type='RandomResizedCrop', scale=84, backend='pillow'),
    *_base_.train_pipeline[2:],
]
test_pipeline = [
    _base_.test_pipeline[0],
    dict(type='ResizeEdge', scale=96, edge='short', backend='pillow'),
    dict(type='CenterCrop', crop_size=84),
    _base_.test_pipeline[-1],
]
train_dataloader = dict(
    num_workers=8, dataset=dict(data_root=data_root, pipeline=train_pipeline)
)
val_dataloader = dict(
    num_workers=4, dataset=dict(data_root=data_root, pipeline=test_pipeline)
)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=100)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, milestones=[60, 80], gamma=0.1)
]
