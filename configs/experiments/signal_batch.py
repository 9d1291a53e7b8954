# The policy sees the accuracy among PCL's candidates.
_base_ = 'ahpcl.py'
model = dict(head=dict(signal=dict(type='ProtoNCELoss', negatives='batch')))
