"""When the names of version 0.1 go: one sentence for every message."""

#: Ends every message about a name, a path or a file of version 0.1.
REMOVAL = 'will be removed in 0.3.0 (not before 2027-06-01)'
