"""The Ray actors that decode, detect and track."""
