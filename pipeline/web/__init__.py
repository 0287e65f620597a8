"""The web service: the session API over HTTP, and the page. No torch, no Ray.

It keeps nothing of its own: any number of these processes may serve the same store.
"""
