# PCL without its instance loss, after the same warm-up.
_base_ = 'pcl.py'
model = dict(head=dict(inst_weight=0.0))
