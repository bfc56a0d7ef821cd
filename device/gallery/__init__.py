"""Templates at rest: sealed rows, matching, backups and forgetting."""
