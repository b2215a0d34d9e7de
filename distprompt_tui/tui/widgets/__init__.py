"""Parts that several screens share. Each draws a frozen value."""
