"""Consent signals, decoded: TCF, GPP with its US sections, US Privacy, GPC, and ISO/IEC TS 27560 records.

Everything here is pure. A text becomes a frozen value, or a SignalError that says at which character and why; nothing is
half-read. What the values mean for purposes stands in `meaning`, and `events` makes consent events of that.
"""
