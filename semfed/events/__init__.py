"""What a run tells while it goes, and what stops it."""
