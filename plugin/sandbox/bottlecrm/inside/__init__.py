"""Runs within BottleCRM's own processes, in its own environment: nothing here may import
anything of the plugin, and nothing of the plugin may import what is here."""
