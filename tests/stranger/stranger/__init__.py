"""A limit method, an experiment and a report figure for covsvc, by somebody else."""
