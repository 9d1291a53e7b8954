# PCL with the fixed temperature tau for every cluster instead of its
# concentration on mini-ImageNet.
_base_ = 'pcl_minin.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        clustering=dict(_base_.pcl_hook.clustering, concentration='fixed'),
    )
]
