# PCL with the fixed temperature tau for every cluster instead of its
# concentration.
_base_ = 'pcl.py'
_base_.custom_hooks[0].clustering.concentration = 'fixed'
