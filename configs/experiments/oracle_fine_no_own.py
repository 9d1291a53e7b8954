# The same, and no negative of a query is a prototype of its own class.
_base_ = 'oracle_fine.py'
model = dict(
    head=dict(
        selection=dict(
            type='OtherClassNegatives',
            dataset=_base_.custom_hooks[0].extract_dataloader.dataset,
        )
    )
)
