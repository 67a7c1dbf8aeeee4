"""``python -m trtconv``."""

from trtconv.cli.main import main

main()
