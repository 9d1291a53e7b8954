# Advances when the clusters have settled.
_base_ = 'ahpcl.py'
__most = _base_.custom_hooks[0].policy.max_epochs
_base_.custom_hooks[0].policy = dict(
    type='StabilityPolicy', agreement=0.7, max_epochs=__most
)
