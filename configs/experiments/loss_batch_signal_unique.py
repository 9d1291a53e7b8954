# Learns as PCL does; the policy sees what has no ceiling.
_base_ = 'ahpcl.py'
model = dict(
    head=dict(
        loss_proto=dict(negatives='batch'),
        signal=dict(type='ProtoNCELoss', negatives='unique'),
    )
)
