"""From the trained model to the one that is exported: all that is linear merged."""
