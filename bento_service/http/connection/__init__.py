"""One connection below the application: limits, upgrades, refusals before the application is asked."""
