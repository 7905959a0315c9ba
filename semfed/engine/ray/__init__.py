"""The Ray engine; nothing else imports Ray."""
