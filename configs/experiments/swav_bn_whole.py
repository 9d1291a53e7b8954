# Batch norm over the whole batch, as in the paper.
_base_ = 'swav.py'
model = dict(backbone=dict(norm_cfg=dict(_delete_=True, type='BN')))
