"""Ask chatd with OpenAI's own client, and print the answer as it comes."""

import os
import sys

from openai import OpenAI

client = OpenAI(base_url=os.environ["CHATD_URL"] + "/v1", api_key=os.environ["CHATD_TOKEN"])
question = [{"role": "user", "content": sys.argv[1]}]
model = os.environ["CHATD_MODEL"]
for chunk in client.chat.completions.create(model=model, messages=question, stream=True):
    print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
