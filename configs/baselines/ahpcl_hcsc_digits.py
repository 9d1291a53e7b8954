# AHPCL on the digits with the two selections of HCSC: nested levels, whose
# hierarchy selects the negatives.
_base_ = '../ahpcl_digits.py'
model = dict(head=dict(selection=dict(type='HierarchicalSelection')))
custom_hooks = [dict(_base_.custom_hooks[0], linkage='agglomerative')]
