"""The report: one HTML file for people who read reports, static figures for papers, and the model card."""
