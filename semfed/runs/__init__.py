"""Running a scenario: the trials, the run folder, history, summary and statistics."""
