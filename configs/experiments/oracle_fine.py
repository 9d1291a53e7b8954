# Pure fine clusters, 40 per class by k-means within the class: is it purity
# that fine prototypes lack? Not a method, as it looks at labels.
_base_ = 'oracle.py'
custom_hooks = [
    dict(
        _base_.custom_hooks[0],
        ladder=dict(
            type='ClusterLadder', rungs=[40 * _base_.num_classes], window=1
        ),
    )
]
