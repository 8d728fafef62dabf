"""Reports: one HTML file, tables, exports."""
