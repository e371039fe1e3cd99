"""Values and rules.

The vocabulary of all other packages: what a chat is, which transitions are legal, what a failure is, and
which events a stream sends. There is no I/O, no clock and no logging here, so everything can be tested by
calling it. Where a rule and other code disagree, the rule is right.

* **Rules are tables.** ``transitions`` holds every legal change of a chat with its effects. The tests of
  the rules and of the store are generated from it, each refusal included.
* **Derived facts are pure functions.** The events of a stream follow from journal entries, and the reasons
  for a chat's state from its facts. So every replica computes the same, and tests cover every state.
* **One tree of errors**, translated where it leaves the process: in ``chatd.api``.
"""
