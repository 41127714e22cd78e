"""The wire contract of Lightbox and a Python client for it.

from lightbox_client import Client

with Client("http://127.0.0.1:3000") as client:
    print(client.classify("chelsea.png").predictions[0].label)
"""

from lightbox_client.client import Client
from lightbox_client.errors import LightboxClientError, ProblemError

__all__ = ["Client", "LightboxClientError", "ProblemError"]
