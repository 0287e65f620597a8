"""How a session is served, wherever it runs. Needs no Ray."""
