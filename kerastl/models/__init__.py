"""What we transfer: backbones, heads, and which of their weights train."""
