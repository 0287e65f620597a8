"""The session API from any process. Needs neither torch nor Ray."""
