"""Clean-room partners. Nothing lives here yet but the place in the import order: engine above, governance below."""
