"""SAM 3.1's network: up to sixteen objects share one memory, one attention and one decoding."""
