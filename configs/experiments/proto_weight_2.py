# Twice the prototype loss.
_base_ = 'ahpcl.py'
model = dict(head=dict(proto_weight=2.0))
