"""`synth`: parallel pairs, machine translation and instructions, filtered with a reason for each row dropped."""
