"""Multiple-choice, cloze and minimal-pair tasks: where they come from, their exemplars, their run through lm-eval."""
