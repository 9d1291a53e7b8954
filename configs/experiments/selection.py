# HCSC's selection of negatives, on nested levels.
_base_ = 'ahpcl.py'
model = dict(head=dict(selection=dict(type='HierarchicalSelection')))
custom_hooks = [dict(_base_.custom_hooks[0], linkage='agglomerative')]
