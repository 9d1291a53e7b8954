# PCL without its instance loss on mini-ImageNet, after the same warm-up.
_base_ = 'pcl_minin.py'
model = dict(head=dict(inst_weight=0.0))
