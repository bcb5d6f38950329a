"""What can be asked of the ledger, one file a noun: which states are read, which rule decides, what is appended."""
