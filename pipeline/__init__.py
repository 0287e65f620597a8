"""Everything around the model: sources, sessions, the places they run in, and the command line."""
