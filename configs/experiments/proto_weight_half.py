# Half the prototype loss.
_base_ = 'ahpcl.py'
model = dict(head=dict(proto_weight=0.5))
