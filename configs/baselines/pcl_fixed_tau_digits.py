# PCL with the fixed temperature tau for every cluster instead of its
# concentration on the digits.
_base_ = 'pcl_digits.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        clustering=dict(_base_.pcl_hook.clustering, concentration='fixed'),
    )
]
