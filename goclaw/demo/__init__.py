"""The demo: a team of agents audits a Python source tree. A tour of the engine, doing real work.

Read `workflow` (what is done, in which order), `agents` (who does it), `outline` (how source is
measured), `report` (what comes of it). Beside it a pipeline without agents: `documents/words.yaml`
(what is done), `library` (the server that it asks), `pipeline` (what it is allowed).
"""
