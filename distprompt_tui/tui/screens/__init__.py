"""The screens: they hold widgets, show them views and turn keys into actions."""
