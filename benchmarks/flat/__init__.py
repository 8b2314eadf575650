"""Cost that stays flat: the gateway with little and with much of everything that can grow."""
