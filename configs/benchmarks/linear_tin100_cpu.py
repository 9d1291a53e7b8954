# As linear_digits.py, on the 20 classes of TIN-100's test.csv at 32 px: 200
# images of each to learn from, 50 to test; 30 epochs instead of 100, with the
# rate lowered after the same shares of them.
_base_ = 'linear_digits.py'
__dataset = dict(
    _delete_=True,
    type='MiniImageNet',
    data_root='data/tin100/',
    split='test',
)
__resize = dict(type='Resize', scale=(32, 32), backend='pillow')
train_pipeline = [
    dict(type='LoadImageBGR'),
    dict(type='RandomResizedCrop', scale=32, backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackClsInputs'),
]
test_pipeline = [
    dict(type='LoadImageBGR'),
    __resize,
    dict(type='PackClsInputs'),
]
model = dict(data_preprocessor=dict(num_classes=20), head=dict(num_classes=20))
train_dataloader = dict(
    dataset=dict(**__dataset, image_part='train', pipeline=train_pipeline)
)
val_dataloader = dict(
    dataset=dict(**__dataset, image_part='test', pipeline=test_pipeline)
)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=30)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, milestones=[18, 24], gamma=0.1)
]
