"""Values and rules.

This floor is the language of the house: what a chat is, which moves are legal, what a failure
looks like, what a stream shows. It does no I/O, reads no clock and writes no log, so everything
in it can be tested by calling it. When a rule and the code upstairs disagree, the rule is here.
"""
