# With batch norm over parts of the batch, as the MoCo family has it.
_base_ = 'simclr.py'
model = dict(
    backbone=dict(norm_cfg=dict(_delete_=True, type='SplitBN', num_splits=4))
)
