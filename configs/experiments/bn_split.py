# Batch norm over an eighth of the batch each, as eight devices would have it.
_base_ = 'ahpcl.py'
model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='SplitBN', num_splits=8))
)
