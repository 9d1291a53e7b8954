# PCL's candidates: the positives of the batch, repeats included.
_base_ = 'ahpcl.py'
model = dict(head=dict(loss_proto=dict(negatives='batch')))
