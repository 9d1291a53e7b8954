# ResNet-50.
_base_ = 'ahpcl_minin.py'
model = dict(
    backbone=dict(depth=50), neck=dict(in_channels=2048, hid_channels=2048)
)
