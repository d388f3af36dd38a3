"""The floor that answers: projections fold the log into views, readers ask the views."""
