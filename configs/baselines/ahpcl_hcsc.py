# AHPCL with the two selections of HCSC: nested levels, whose hierarchy selects
# the negatives.
_base_ = '../_base_/scales/{{$AHPCL_SCALE:digits}}.py'
_base_.pop('data')
model = dict(head=dict(selection=dict(type='HierarchicalSelection')))
_base_.custom_hooks[0].linkage = 'agglomerative'
