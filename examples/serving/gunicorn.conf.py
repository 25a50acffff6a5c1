"""gunicorn with preload: the model is loaded once, and the workers that fork from there share its weights' memory."""

bind = "127.0.0.1:8000"
workers = 2
worker_class = "asgi"
preload_app = True
