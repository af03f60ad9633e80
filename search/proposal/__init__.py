"""Search files for data that a person named: task, space, budgets and hours that suit it."""
