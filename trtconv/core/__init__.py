"""The ground floor: errors, events, records, files, digests, child processes. Imports nothing else of trtconv."""
