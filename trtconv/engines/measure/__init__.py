"""What an engine does per second: loops, meanings of the numbers, statistics, power, tuning."""
