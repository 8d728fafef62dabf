"""The provider: translate, send once, translate faults."""
