"""The officer's questions, each answered from what was recorded, with the entries of the log that the answer rests on.

`question.py` holds the values, `archive.py` what an answer may look at, `asking.py` how one is asked: authorised, recorded, answered,
committed to, proved (`proving.py`). `register.py` lists all of them; the answers themselves stand by theme beside it. Nothing here
decides anything: what was decided is looked up, and what nobody recorded is said to be unrecorded.
"""
