"""What is told and what is recorded: status lines, audit, systemd."""
