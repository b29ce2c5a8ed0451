"""``python -m plugin``."""

from plugin.cli import main

main()
