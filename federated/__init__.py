"""Clean-room partners: a contract that all of them sign, sums that show nobody's part, and the cohort that a trainer sees."""
