"""What the model knows: stated facts, and cloze questions made from the training corpus."""
