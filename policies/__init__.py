"""Pure policy-as-code: vocabulary, documents and decisions that explain themselves. No I/O, no SQL, no clock."""
