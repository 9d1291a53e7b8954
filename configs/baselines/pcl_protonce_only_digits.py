# PCL without its instance loss on the digits, after the same warm-up.
_base_ = 'pcl_digits.py'
model = dict(head=dict(inst_weight=0.0))
