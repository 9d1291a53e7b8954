# AHPCL on the digits with clusters of equal size, by SeLa's optimal transport.
_base_ = '../ahpcl_digits.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        clustering=dict(type='SinkhornClustering'),
    )
]
