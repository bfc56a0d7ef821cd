"""The live page: a process of its own, which has a socket, one picture in memory, and nothing else."""
