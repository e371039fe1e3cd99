"""Requests for the rules of the providers: examples of the documentation, and what each rule rejects."""
