"""OpenAI's Responses and Conversations under ``/v1``.

A conversation is a chat, and a response is what answers one message of the user, or the results of one
request of the model for calls that the client runs.

* ``ids``: every id follows from what is stored, so an id is all that a client needs to come back.
* ``events``: the items of a turn as events, and as the Response object that they lead to.
"""
