"""A response that survives the end of its connection: begun, followed, cut, and followed on.

Run it with ``pip install openai`` and a chatd that has ``[adapters] enabled = ["responses"]``::

    CHATD_URL=http://127.0.0.1:8080/v1 CHATD_TOKEN=… python responses.py "Why is the sky blue?"
"""

import os
import sys

from openai import OpenAI

client = OpenAI(
    base_url=os.environ.get("CHATD_URL", "http://127.0.0.1:8080/v1"),
    api_key=os.environ.get("CHATD_TOKEN", "none"),
)

stream = client.responses.create(input=sys.argv[1], background=True, stream=True)
for event in stream:
    if event.type == "response.created":
        response_id = event.response.id
    if event.type == "response.output_text.delta":
        print(event.delta, end="", flush=True)
        break  # as if the connection was lost

rest = client.responses.retrieve(response_id, stream=True, starting_after=event.sequence_number)
for event in rest:
    if event.type == "response.output_text.delta":
        print(event.delta, end="", flush=True)
print()
