# AHPCL's own clusters, but no negative of a query is a prototype whose images
# are mostly of the query's class. Not a method, as it looks at labels.
_base_ = 'ahpcl.py'
model = dict(
    head=dict(
        selection=dict(
            type='OtherClassNegatives',
            dataset=_base_.custom_hooks[0].extract_dataloader.dataset,
        )
    )
)
