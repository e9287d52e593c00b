"""Tasks, and what was tried on them before: the records that methods and families share."""
