"""The format of an index: its tables, records and folders. No torch, no Ray."""
