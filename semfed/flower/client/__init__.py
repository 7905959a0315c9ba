"""The client's side of the border: learners, the app that serves them, and what a process and a node keep."""
