"""Running experiments: runner, run folder, history, reports and figures."""
