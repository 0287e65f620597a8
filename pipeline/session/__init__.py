"""The loop that serves a session, in this process or in a Ray actor. Imports no Ray."""
