"""Tasks on labelled texts: fine-tuning, its scores, and distillation."""
