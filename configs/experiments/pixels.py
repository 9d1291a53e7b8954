# Raw pixels, 8 x 8: what an encoder has to beat.
_base_ = 'untrained.py'
model = dict(
    backbone=dict(_delete_=True, type='PixelBackbone', size=8),
    neck=dict(in_channels=192, with_avg_pool=False),
)
