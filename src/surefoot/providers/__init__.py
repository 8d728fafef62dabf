"""The edge: translate, send once, translate faults."""
