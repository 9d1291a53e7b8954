# Batch norm over the whole batch.
_base_ = 'hcsc.py'
model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='BN')),
    neck=dict(norm_cfg=dict(_delete_=True, type='BN1d')),
)
