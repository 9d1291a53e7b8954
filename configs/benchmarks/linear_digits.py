# mmselfsup's linear probe (MoCo's: SGD with a rate of 30, 100 epochs) on the
# digits, for mmcls's train.py. The backbone is given on the command line, as
# docs/ecosystem.md shows; without it an untrained one is probed.
# mmselfsup's config is inherited by path, from where it is installed: as
# 'mmselfsup::...' its parts of mmcls would be looked for in mmselfsup.
# ahpcl comes first: that file inherits 'mmcls::...', for which mmengine needs
# pkg_resources, gone from setuptools 82, or our patch.
_base_ = (
    __import__('ahpcl').compat
    and __import__('mmselfsup').__path__[0]
    + '/.mim/configs/benchmarks/classification/imagenet/'
    'resnet50_linear-8xb32-steplr-100e_in1k.py'
)
custom_imports = dict(imports=['ahpcl'], allow_failed_imports=False)
randomness = dict(seed=0)
model = dict(
    data_preprocessor=dict(num_classes=10),
    # That of ../_base_/models/ahpcl_thin.py.
    backbone=dict(
        _delete_=True,
        type='ResNet_CIFAR',
        depth=18,
        stem_channels=16,
        base_channels=16,
        num_stages=3,
        strides=(1, 2, 2),
        dilations=(1, 1, 1),
        out_indices=(2,),
        frozen_stages=3,
    ),
    head=dict(num_classes=10, in_channels=64),
)
train_pipeline = [
    dict(type='LoadImageBGR'),
    # A mirrored digit is no digit.
    dict(
        type='RandomResizedCrop',
        scale=16,
        crop_ratio_range=(0.6, 1.0),
        backend='pillow',
    ),
    dict(type='PackClsInputs'),
]
test_pipeline = [dict(type='LoadImageBGR'), dict(type='PackClsInputs')]
# 8 x 32, the batch that the rate is made for.
train_dataloader = dict(
    batch_size=256,
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='Digits',
        img_size=16,
        split='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='Digits',
        img_size=16,
        split='test',
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
train_cfg = dict(val_interval=10)
