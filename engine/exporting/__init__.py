"""Evidence for somebody outside, as files: the record of processing (`processing.py`, GDPR art. 30), inputs of an impact assessment
(`impact.py`, art. 35), lineage as OpenLineage events (`runs.py`, `openlineage.py`) and the log itself (`log_lines.py`).

`leaving.py` lets a file leave: authorised, in the log before it is there, whole or not at all. Nothing in any of them is about one
subject: they say what documents, the log and released or noisy figures say.
"""
