"""Which videos are to be indexed: listed, compared with what is indexed, cut into jobs."""
