# MoCo v2 (Chen et al., arXiv:2003.04297): momentum contrast with a queue.
# It is AHPCL without the hook that makes prototypes; model, data and schedule
# are those of AHPCL's config of the same data.
#
# All ranks end an epoch with the same running statistics of batch norm.
method_hooks = [dict(type='SyncBuffersHook')]
