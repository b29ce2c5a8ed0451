"""What EspoCRM sends, and a stand-in for it."""
