"""From a job to steps that run or are up to date."""
